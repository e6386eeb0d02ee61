//go:build race

package main

// raced: the race detector makes everything several times slower.
const raced = true
