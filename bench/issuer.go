package main

import "context"

func (b *bench) issuer(ctx context.Context) error { return nil }
