package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// alertItem is an alert as the API shows it.
type alertItem struct {
	AlertID     string `json:"alert_id"`
	WarehouseID string `json:"warehouse_id"`
	Subject     struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	} `json:"subject"`
	Level    string         `json:"level"`
	Peak     string         `json:"peak"`
	Status   string         `json:"status"`
	Cause    string         `json:"cause"`
	Message  string         `json:"message"`
	Count    int            `json:"count"`
	Assignee *string        `json:"assignee"`
	Snoozed  *string        `json:"snoozed_until"`
	OpenedAt string         `json:"opened_at"`
	Ended    *string        `json:"resolved_at"`
	Handling []handlingItem `json:"handling"`
}

type handlingItem struct {
	Action  string         `json:"action"`
	Actor   *string        `json:"actor"`
	At      string         `json:"at"`
	Details map[string]any `json:"details"`
}

// maxAlerts bounds what one command looks at.
const maxAlerts = 10_000

func newAlertsCmd() *cobra.Command {
	var base, token string
	group := &cobra.Command{Use: "alerts", Short: "What is wrong now: list it, look at it, say that somebody looks after it, end it; try the rules on a recording"}
	group.PersistentFlags().StringVar(&base, "url", "http://127.0.0.1:8080", "URL of the engine")
	group.PersistentFlags().StringVar(&token, "token", "", "bearer token, of an operator where something is to change (or STARLING_TOKEN)")
	open := func() *client { return newClient(base, bearer(token)) }
	group.AddCommand(newAlertsListCmd(open), newAlertShowCmd(open), newAlertsReplayCmd())
	for _, v := range alertVerbs() {
		group.AddCommand(v.command(open))
	}
	return group
}

func newAlertsListCmd(open func() *client) *cobra.Command {
	var status, level, least, cause, warehouse string
	var all bool
	list := &cobra.Command{
		Use: "list", Short: "The newest first, without the resolved ones; exit code 0 also where there are none", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			for name, value := range map[string]string{"status": status, "level": level, "min_level": least, "cause": cause, "warehouse_id": warehouse} {
				if value != "" {
					q.Set(name, value)
				}
			}
			if !all && status == "" {
				q.Set("unresolved", "true")
			}
			items, err := findAlerts(cmd, open(), q)
			if err != nil {
				return err
			}
			return printAlerts(cmd.OutOrStdout(), items)
		},
	}
	f := list.Flags()
	f.StringVar(&status, "status", "", "OPEN, ACKNOWLEDGED or RESOLVED alone")
	f.StringVar(&level, "level", "", "L1, L2 or L3 alone")
	f.StringVar(&least, "min-level", "", "of that level and worse")
	f.StringVar(&cause, "cause", "", "of one cause alone: congestion, robot_lost, …")
	f.StringVar(&warehouse, "warehouse", "", "of one warehouse alone")
	f.BoolVar(&all, "all", false, "the resolved ones too")
	return list
}

func newAlertShowCmd(open func() *client) *cobra.Command {
	return &cobra.Command{
		Use: "show ALERT_ID", Short: "An alert, with all that was done about it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := open()
			defer c.http.CloseIdleConnections()
			var a alertItem
			if err := c.call(cmd.Context(), http.MethodGet, "/api/v1/alerts/"+url.PathEscape(args[0]), "", nil, &a); err != nil {
				return err
			}
			return printAlert(cmd.OutOrStdout(), &a)
		},
	}
}

// alertVerb is something that people do about alerts.
type alertVerb struct {
	name, short string
	path        string // of the API, "" = the name
	text        string // what --text says
	needs       bool   // --text must be there
	body        func(cmd *cobra.Command, body map[string]any) error
	flags       func(cmd *cobra.Command)
}

func alertVerbs() []alertVerb {
	const why = "why; kept with the step"
	return []alertVerb{
		{name: "acknowledge", short: "Say that somebody looks after them", text: why},
		{name: "resolve", short: "End them", text: why},
		{name: "rollback", short: "Take back what people and rules have done about them", text: why},
		{name: "comment", short: "Add a comment", path: "comments", text: "what is to be said", needs: true},
		{
			name: "assign", short: "Give them to somebody, by default to yourself", text: why,
			flags: func(cmd *cobra.Command) {
				cmd.Flags().String("to", "me", "a user's id, or me; empty: nobody")
			},
			body: func(cmd *cobra.Command, body map[string]any) error {
				to, err := cmd.Flags().GetString("to")
				body["assignee"] = to
				return err
			},
		},
		{
			name: "snooze", short: "Keep them from calling out for a while", text: why,
			flags: func(cmd *cobra.Command) { cmd.Flags().Duration("for", time.Hour, "how long; 0 ends it") },
			body: func(cmd *cobra.Command, body map[string]any) error {
				d, err := cmd.Flags().GetDuration("for")
				if d > 0 {
					body["until"] = time.Now().Add(d).UTC().Format("2006-01-02T15:04:05.000Z")
				}
				return err
			},
		},
		{
			name: "mark", short: "Say whether they were right, for the calibration of rules", text: why,
			flags: func(cmd *cobra.Command) { cmd.Flags().String("as", "", "false, missed or right") },
			body: func(cmd *cobra.Command, body map[string]any) error {
				as, err := cmd.Flags().GetString("as")
				if err == nil {
					err = oneOfFlag("as", as, []string{"false", "missed", "right"})
				}
				body["mark"] = as
				return err
			},
		},
	}
}

func (v alertVerb) command(open func() *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: v.name + " ALERT_ID…", Short: v.short, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			body := map[string]any{}
			text, err := cmd.Flags().GetString("text")
			if err != nil {
				return err
			}
			if v.needs && text == "" {
				return usageError{errors.New("want --text")}
			}
			body["text"] = text
			if v.body != nil {
				if err := v.body(cmd, body); err != nil {
					return err
				}
			}
			return v.do(cmd, open(), ids, body)
		},
	}
	cmd.Flags().String("text", "", v.text)
	if v.flags != nil {
		v.flags(cmd)
	}
	return cmd
}

// do does it about each alert. One whose state forbids it stops no other; that it was passed over is an error at the end.
func (v alertVerb) do(cmd *cobra.Command, c *client, ids []string, body map[string]any) error {
	defer c.http.CloseIdleConnections()
	passed := 0
	for _, id := range ids {
		var a alertItem
		if err := c.call(cmd.Context(), http.MethodPost, "/api/v1/alerts/"+url.PathEscape(id)+"/"+cmp.Or(v.path, v.name), "", body, &a); err != nil {
			var e *apiError
			if errors.As(err, &e) && e.Status == http.StatusConflict {
				passed++
				fmt.Fprintln(cmd.ErrOrStderr(), id, "its state forbids it")
				continue
			}
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), a.AlertID, a.Status)
	}
	if passed > 0 {
		return fmt.Errorf("%d of %d alerts were passed over", passed, len(ids))
	}
	return nil
}

func findAlerts(cmd *cobra.Command, c *client, q url.Values) ([]alertItem, error) {
	defer c.http.CloseIdleConnections()
	q.Set("limit", "500")
	var all []alertItem
	for len(all) < maxAlerts {
		var page struct {
			Items []alertItem `json:"items"`
			Next  string      `json:"next_cursor"`
		}
		if err := c.call(cmd.Context(), http.MethodGet, "/api/v1/alerts?"+q.Encode(), "", nil, &page); err != nil {
			return nil, err
		}
		if all = append(all, page.Items...); page.Next == "" {
			break
		}
		q.Set("cursor", page.Next)
	}
	return all, nil
}

func printAlerts(w io.Writer, items []alertItem) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ALERT\tLEVEL\tSTATUS\tSINCE\tCAUSE\tSUBJECT\tCOUNT\tMESSAGE")
	for i := range items {
		a := &items[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s %s\t%d\t%.120s\n", a.AlertID, a.Level, a.Status, a.OpenedAt, a.Cause, a.Subject.Type, a.Subject.ID, a.Count, oneLine(a.Message))
	}
	return t.Flush()
}

func printAlert(w io.Writer, a *alertItem) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"alert", a.AlertID},
		{"warehouse", a.WarehouseID},
		{"subject", a.Subject.Type + " " + a.Subject.ID},
		{"cause", a.Cause},
		{"level", a.Level + ", at worst " + a.Peak},
		{"status", a.Status},
		{"since", a.OpenedAt},
		{"resolved", orNone(a.Ended)},
		{"assignee", orNone(a.Assignee)},
		{"snoozed until", orNone(a.Snoozed)},
		{"message", oneLine(a.Message)},
	} {
		fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
	}
	fmt.Fprintln(t)
	for _, h := range a.Handling {
		var more []string
		for _, name := range []string{"from_level", "to_level", "assignee", "until", "resolution", "mark", "remedy_id", "taken_back", "text"} {
			if v, ok := h.Details[name]; ok {
				more = append(more, fmt.Sprintf("%s %v", name, v))
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", h.At, h.Action, orNone(h.Actor), oneLine(strings.Join(more, ", ")))
	}
	return t.Flush()
}

func orNone(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

// oneLine keeps what people have written from looking like something else.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
