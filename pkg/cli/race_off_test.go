//go:build !race

package cli

const reportLines = 2000
