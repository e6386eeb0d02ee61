package doctor

import (
	"context"

	"bailiff/pkg/config"
)

// The last link: whether a ban shuts out.

func (d *doctor) ban(ctx context.Context, jails []*config.Jail) {}
