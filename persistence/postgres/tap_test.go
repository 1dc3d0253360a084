//go:build integration

package postgres_test

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// tap runs statements on a connection and counts what they return or change.
type tap struct {
	conn *pgx.Conn
	rows int64
	sql  []string
}

func (d *tap) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	d.sql = append(d.sql, sql)
	tag, err := d.conn.Exec(ctx, sql, args...)
	d.rows += tag.RowsAffected()
	return tag, err
}

func (d *tap) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	d.sql = append(d.sql, sql)
	rows, err := d.conn.Query(ctx, sql, args...)
	return &tapped{rows, d, false}, err
}

func (d *tap) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := d.Query(ctx, sql, args...)
	return row{rows, err}
}

func (d *tap) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	for _, q := range b.QueuedQueries {
		d.sql = append(d.sql, q.SQL)
		q.Query(func(rows pgx.Rows) error {
			rows.Close()
			d.rows += rows.CommandTag().RowsAffected()
			return rows.Err()
		})
	}
	return closed{d.conn.SendBatch(ctx, b).Close()}
}

type tapped struct {
	pgx.Rows
	d       *tap
	counted bool
}

func (r *tapped) Close() {
	r.Rows.Close()
	if !r.counted {
		r.counted = true
		r.d.rows += r.CommandTag().RowsAffected()
	}
}

type row struct {
	rows pgx.Rows
	err  error
}

func (r row) Scan(into ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(into...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

// closed are the results of a batch that is over.
type closed struct{ err error }

func (c closed) Exec() (pgconn.CommandTag, error) { return pgconn.CommandTag{}, c.err }
func (c closed) Query() (pgx.Rows, error)         { return nil, c.err }
func (c closed) QueryRow() pgx.Row                { return row{nil, c.err} }
func (c closed) Close() error                     { return c.err }
func (c closed) Tx() pgx.Tx                       { return nil }
