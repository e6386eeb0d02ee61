//go:build race

package source

// raced: the race detector makes everything several times slower.
const raced = true
