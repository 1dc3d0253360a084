package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"starling/bench/robots"
)

// client speaks the public API as any other client does: for the commands that need a running engine.
type client struct {
	base  string
	token string
	http  *http.Client
}

func newClient(base, token string) *client {
	t := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}
	return &client{base: strings.TrimSuffix(base, "/"), token: token, http: &http.Client{Timeout: 2 * time.Minute, Transport: t}}
}

// apiError is an error body of the API.
type apiError struct {
	Status int
	Code   string
	Text   string
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d): %s", e.Code, e.Status, e.Text) }

// call sends a request and reads the answer into out (nil = dropped). key is the Idempotency-Key, "" = none.
func (c *client) call(ctx context.Context, method, path, key string, body, out any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode >= 300 {
		var e struct {
			Error struct {
				Code    string          `json:"code"`
				Message string          `json:"message"`
				Details json.RawMessage `json:"details"`
			} `json:"error"`
		}
		_ = json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&e)
		return fmt.Errorf("%s %s: %w", method, path, &apiError{res.StatusCode, e.Error.Code, e.Error.Message + " " + string(e.Error.Details)})
	}
	if out == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("read the answer of %s %s: %w", method, path, err)
	}
	return nil
}

// again repeats a call while the engine is away, until ctx is done.
func (c *client) again(ctx context.Context, method, path, key string, body, out any) error {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := c.call(ctx, method, path, key, body, out)
		var e *apiError
		if err == nil || errors.As(err, &e) && e.Status != http.StatusServiceUnavailable && e.Status != http.StatusTooManyRequests && e.Status != http.StatusGatewayTimeout {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// vertexItem is a vertex of a map version.
type vertexItem struct {
	ID    string  `json:"id"`
	Index int     `json:"index"`
	X     float64 `json:"x"`
	Y     float64 `json:"y"`
}

// chargers reads where robots charge on a map version.
func (c *client) chargers(ctx context.Context, mapID string, version int) ([]robots.Point, error) {
	var plan struct {
		Places []struct {
			X        float64 `json:"x"`
			Y        float64 `json:"y"`
			Charging bool    `json:"charging"`
		} `json:"places"`
	}
	if err := c.call(ctx, http.MethodGet, "/api/v1/maps/"+mapID+"/versions/"+strconv.Itoa(version)+"/floor-plan", "", nil, &plan); err != nil {
		return nil, err
	}
	var ps []robots.Point
	for _, p := range plan.Places {
		if p.Charging {
			ps = append(ps, robots.Point{X: p.X, Y: p.Y})
		}
	}
	return ps, nil
}

// vertices reads all vertices of a map version, page by page.
func (c *client) vertices(ctx context.Context, mapID string, version int) ([]vertexItem, error) {
	var all []vertexItem
	for cursor := ""; ; {
		var page struct {
			Vertices []vertexItem `json:"vertices"`
			Next     *string      `json:"next_cursor"`
		}
		path := "/api/v1/maps/" + mapID + "/versions/" + strconv.Itoa(version) + "?limit=500&cursor=" + url.QueryEscape(cursor)
		if cursor == "" {
			path = "/api/v1/maps/" + mapID + "/versions/" + strconv.Itoa(version) + "?limit=500"
		}
		if err := c.call(ctx, http.MethodGet, path, "", nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Vertices...)
		if page.Next == nil {
			return all, nil
		}
		cursor = *page.Next
	}
}

// mapItem is a map as the list has it.
type mapItem struct {
	MapID         string `json:"map_id"`
	WarehouseID   string `json:"warehouse_id"`
	ActiveVersion *int   `json:"active_version"`
}

// activeMap finds the active map of a warehouse.
func (c *client) activeMap(ctx context.Context, warehouse string) (id string, version int, err error) {
	var l struct {
		Items []mapItem `json:"items"`
	}
	if err := c.call(ctx, http.MethodGet, "/api/v1/maps?limit=500&warehouse_id="+warehouse, "", nil, &l); err != nil {
		return "", 0, err
	}
	for _, m := range l.Items {
		if m.ActiveVersion != nil {
			return m.MapID, *m.ActiveVersion, nil
		}
	}
	return "", 0, fmt.Errorf("warehouse %s has no active map", warehouse)
}

// upload creates a map and activates its first version.
func (c *client) upload(ctx context.Context, warehouse, name, format string, content any, resM float64, activate bool) (id string, report json.RawMessage, err error) {
	var out struct {
		MapID  string          `json:"map_id"`
		Report json.RawMessage `json:"report"`
	}
	body := map[string]any{"warehouse_id": warehouse, "name": name, "format": format, "content": content, "resolution_m": resM}
	if err := c.call(ctx, http.MethodPost, "/api/v1/maps", "", body, &out); err != nil {
		return "", nil, err
	}
	if activate {
		err = c.call(ctx, http.MethodPost, "/api/v1/maps/"+out.MapID+"/versions/1/activate", "", nil, nil)
	}
	return out.MapID, out.Report, err
}
