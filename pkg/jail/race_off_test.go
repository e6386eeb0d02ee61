//go:build !race

package jail

const usualHistories = 200
