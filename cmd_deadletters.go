package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// letter is a dead letter as the API shows it.
type letter struct {
	EventID  string `json:"event_id"`
	Topic    string `json:"topic"`
	Type     string `json:"type"`
	Kind     string `json:"aggregate_type"`
	Object   string `json:"aggregate_id"`
	DeadAt   string `json:"dead_at"`
	Attempts int    `json:"attempts"`
	Waiting  int    `json:"waiting"`
	State    string `json:"state"`
	Cause    string `json:"cause"`
}

func newDeadLettersCmd() *cobra.Command {
	var base, token, state, topic string
	group := &cobra.Command{
		Use:   "dead-letters",
		Short: "Facts that could not be sent to Kafka: list them, send them again, leave them out",
	}
	group.PersistentFlags().StringVar(&base, "url", "http://127.0.0.1:8080", "URL of the engine")
	group.PersistentFlags().StringVar(&token, "token", "", "bearer token of an admin (or STARLING_TOKEN)")
	list := &cobra.Command{
		Use:   "list",
		Short: "The newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			letters, err := findLetters(cmd, newClient(base, bearer(token)), state, topic)
			if err != nil {
				return err
			}
			return printLetters(cmd.OutOrStdout(), letters)
		},
	}
	list.Flags().StringVar(&state, "state", "open", "open, retrying, discarding, retried, discarded; empty = all")
	list.Flags().StringVar(&topic, "topic", "", "of one topic alone")
	group.AddCommand(list)
	for verb, short := range map[string]string{
		"retry":   "Send them again, and what waits behind them",
		"discard": "Leave them out for ever, and send what waits behind them",
	} {
		var all bool
		cmd := &cobra.Command{
			Use:   verb + " EVENT_ID… | " + verb + " --all",
			Short: short,
			Args:  cobra.ArbitraryArgs,
			RunE: func(cmd *cobra.Command, ids []string) error {
				if all == (len(ids) > 0) {
					return usageError{errors.New("want ids of letters, or --all")}
				}
				return decideLetters(cmd, newClient(base, bearer(token)), verb, ids, topic)
			},
		}
		cmd.Flags().BoolVar(&all, "all", false, "all open ones")
		cmd.Flags().StringVar(&topic, "topic", "", "with --all: of one topic alone")
		group.AddCommand(cmd)
	}
	return group
}

// maxLetters bounds what one command looks at.
const maxLetters = 10_000

func findLetters(cmd *cobra.Command, c *client, state, topic string) ([]letter, error) {
	defer c.http.CloseIdleConnections()
	var all []letter
	for cursor := ""; len(all) < maxLetters; {
		q := url.Values{"limit": {"500"}}
		for name, value := range map[string]string{"state": state, "topic": topic, "cursor": cursor} {
			if value != "" {
				q.Set(name, value)
			}
		}
		var page struct {
			Items []letter `json:"items"`
			Next  string   `json:"next_cursor"`
		}
		if err := c.call(cmd.Context(), http.MethodGet, "/api/v1/dead-letters?"+q.Encode(), "", nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	return all, nil
}

func printLetters(w io.Writer, letters []letter) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "EVENT\tTOPIC\tTYPE\tOBJECT\tDEAD SINCE\tATTEMPTS\tWAITING\tSTATE\tCAUSE")
	for _, l := range letters {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s %s\t%s\t%d\t%d\t%s\t%.120s\n", l.EventID, l.Topic, l.Type, l.Kind, l.Object, l.DeadAt, l.Attempts, l.Waiting, l.State, l.Cause)
	}
	return t.Flush()
}

// decideLetters asks for each letter; without ids for all open ones. One that has been decided otherwise meanwhile is passed
// over and told of at the end; where it was asked for by its id, that is an error.
func decideLetters(cmd *cobra.Command, c *client, verb string, ids []string, topic string) error {
	defer c.http.CloseIdleConnections()
	all, passed := len(ids) == 0, 0
	if all {
		letters, err := findLetters(cmd, c, "open", topic)
		if err != nil {
			return err
		}
		for _, l := range letters {
			ids = append(ids, l.EventID)
		}
	}
	for _, id := range ids {
		var l letter
		if err := c.call(cmd.Context(), http.MethodPost, "/api/v1/dead-letters/"+url.PathEscape(id)+"/"+verb, "", nil, &l); err != nil {
			var e *apiError
			if errors.As(err, &e) && e.Status == http.StatusConflict {
				passed++
				fmt.Fprintln(cmd.ErrOrStderr(), id, "has been decided otherwise")
				continue
			}
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), l.EventID, l.State)
	}
	if passed == 0 {
		return nil
	}
	if !all {
		return fmt.Errorf("%d of %d letters had been decided otherwise", passed, len(ids))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%d of %d letters had been decided otherwise meanwhile\n", passed, len(ids))
	return nil
}
