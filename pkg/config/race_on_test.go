//go:build race

package config

// raced: the race detector makes everything several times slower.
const raced = true
