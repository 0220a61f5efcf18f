// Package model explores.
package model
