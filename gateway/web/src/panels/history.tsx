import { signal } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import { ApiError, type Schemas } from "starling-client";
import type { Series } from "../memory.js";
import { useWatch } from "../page.js";
import { chartOf, SPANS, TRACK_MS, trackOf } from "../past.js";
import { api } from "../session.js";
import { Chart } from "./chart.js";

/** Where the robot that is looked at has been, for the map; null = not shown. */
export const track = signal<[number, number][][] | null>(null);
const trackShown = signal(false);
const chosen = signal(0);

const AGAIN_MS = 15_000;
/** Of a track, at 5 a second for a quarter of an hour. */
const MOST_POINTS = 4_500;

/** What was measured of a robot: battery and speed, and its track on the map. */
export function History({ id }: { id: string }) {
  const { watch } = useWatch();
  const span = SPANS[chosen.value]!;
  const [trouble, setTrouble] = useState("");
  const [source, setSource] = useState("");
  const of = useMemo(() => ({ series: null as Series | null, changes: signal(0) }), [id, span]);
  useEffect(() => {
    const stop = new AbortController();
    const load = async (): Promise<void> => {
      const to = new Date(watch.now.peek()), path = { robot_id: id };
      const from = (ms: number): string => new Date(to.getTime() - ms).toISOString();
      try {
        const past = await api.get("/api/v1/robots/{robot_id}/history", {
          path, query: { from: from(span.ms), to: to.toISOString(), every: span.every, fields: ["battery_soc", "velocity_mps", "velocity_mps.max"], limit: 500 }, signal: stop.signal,
        });
        of.series = chartOf(past.items ?? []);
        of.changes.value++;
        setSource(past.source);
        if (trackShown.peek()) {
          const way: Schemas["HistoryItem"][] = [];
          for (let cursor: string | undefined; way.length < MOST_POINTS;) {
            const page = await api.get("/api/v1/robots/{robot_id}/history", { path, query: { from: from(TRACK_MS), to: to.toISOString(), fields: ["x", "y"], limit: 500, ...(cursor !== undefined && { cursor }) }, signal: stop.signal });
            way.push(...(page.items ?? []));
            if (!page.next_cursor) break;
            cursor = page.next_cursor;
          }
          if (trackShown.peek()) track.value = trackOf(way);
        }
        setTrouble("");
      } catch (e) {
        if (e instanceof ApiError && !stop.signal.aborted) setTrouble(e.status === 503 ? "The history is not there just now." : e.message);
      }
    };
    void load();
    const timer = setInterval(() => void load(), AGAIN_MS);
    return () => {
      stop.abort();
      clearInterval(timer);
      track.value = null;
    };
  }, [id, span, trackShown.value]);
  // What the page has seen itself stands in until the history has come, and where there is none.
  const lines = (columns: number[]) => (): Series => of.series ? [of.series[0], ...columns.map((c) => of.series![c] ?? [])] : memory(columns);
  const memory = (columns: number[]): Series => {
    const seen = watch.memory.robot(id);
    return [seen[0], ...columns.map((c) => (c === 1 ? seen[1]! : seen[2]!))];
  };
  return (
    <section aria-label="History">
      <h3>History</h3>
      <div class="row wrap">
        <label class="row">Last <select value={chosen.value} onChange={(e) => (chosen.value = Number(e.currentTarget.value))}>{SPANS.map((s, i) => <option key={s.word} value={i}>{s.word}</option>)}</select></label>
        <label class="row"><input type="checkbox" checked={trackShown.value} onChange={(e) => (trackShown.value = e.currentTarget.checked)} /> Track on the map, 15 min</label>
      </div>
      <Chart key={`b${id}${span.word}`} title="Battery, %" series={lines([1])} changes={of.changes} lines={[{ name: "battery", colour: "--robot-charging" }]} columns={[1]} range={[0, 100]} />
      <Chart key={`s${id}${span.word}`} title="Speed, m/s" series={lines([2, 3])} changes={of.changes} lines={[{ name: "mean", colour: "--robot-moving" }, { name: "greatest", colour: "--robot-paused", dash: [3, 3] }]} columns={[1, 2]} />
      {trouble !== "" ? <p class="hint" role="status">{trouble} This is what the page has seen itself.</p> : source === "memory" && span.ms > TRACK_MS && <p class="hint">Nothing older is kept: there is no time-series store, or it does not answer.</p>}
    </section>
  );
}
