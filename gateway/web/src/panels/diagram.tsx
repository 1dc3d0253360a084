import { signal } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import { ApiError } from "starling-client";
import { type Diagram, drawn, standing, trendOf } from "../heat.js";
import type { Series } from "../memory.js";
import { useWatch } from "../page.js";
import { indexOf, SPANS } from "../past.js";
import { api, polling } from "../session.js";
import { percent } from "../words.js";
import { Chart } from "./chart.js";
import { Level } from "./level.js";

const DIAGRAM_MS = 10_000;
const HISTORY_MS = 15_000;
const WIDTH = 270, HEIGHT = 130;
const chosen = signal(0);

/** How congested a zone is, how it flows, and how its index went. */
export function ZoneCongestion({ id }: { id: string }) {
  const { watch } = useWatch();
  const h = watch.heat.value.get(id);
  const { sign, word } = trendOf(h?.trend ?? 0);
  return (
    <section aria-label="Congestion">
      <h3>Congestion</h3>
      {h ? (
        <p data-testid="congestion">
          <Level of={h.level} /> Index <b>{h.congestion_index.toFixed(2)}</b>, <span aria-hidden="true">{sign}</span> {word}; {h.forecast_60.toFixed(2)} expected in a minute. Speed {percent(h.mean_speed_ratio)} of free driving,{" "}
          {h.queue_length} wait, {h.inbound} on their way here. Risk {percent(h.risk_score)}; {percent(h.confidence)} sure.
        </p>
      ) : <p class="empty">Nothing was measured here yet.</p>}
      {h && <Flow id={id} />}
      {h && <IndexHistory key={id} id={id} />}
    </section>
  );
}

/** Production over density, as it was learned, and where the zone is now. */
function Flow({ id }: { id: string }) {
  const [of, setOf] = useState<Diagram | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    const load = (): Promise<void> => polling.get("/api/v1/congestion/zones/{zone_id}/diagram", { path: { zone_id: id }, signal: stop.signal }).then(setOf).catch((e: unknown) => {
      if (!(e instanceof ApiError) && !stop.signal.aborted) throw e; // the next answer mends it
    });
    void load();
    const timer = setInterval(() => void load(), DIAGRAM_MS);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [id]);
  if (of === null) return null;
  return <figure class="chart flow"><figcaption>Moves a second over robots per vertex</figcaption><Plot of={of} /><p class="hint" data-testid="standing">{standing(of)}{of.peak_known ? "" : " Its own peak was not seen yet."}</p></figure>;
}

function Plot({ of }: { of: Diagram }) {
  const d = drawn(of, WIDTH, HEIGHT);
  const labels = { x: [0, d.most.density / 2, d.most.density], y: [0, d.most.production / 2, d.most.production] };
  return (
    <>
      <svg viewBox={`-36 -8 ${WIDTH + 44} ${HEIGHT + 28}`} role="img" aria-label={`Diagram of the zone. ${standing(of)}`}>
        <path class="axis" d={`M0 0V${HEIGHT}H${WIDTH}`} />
        {labels.x.map((v, i) => <text key={`x${v}`} x={(WIDTH * i) / 2} y={HEIGHT + 14} text-anchor={i === 0 ? "start" : i === 2 ? "end" : "middle"}>{v.toFixed(2)}</text>)}
        {labels.y.map((v, i) => <text key={`y${v}`} x={-5} y={HEIGHT - (HEIGHT * i) / 2 + 4} text-anchor="end">{v.toFixed(d.most.production < 2 ? 2 : 1)}</text>)}
        {d.ofClass.length > 1 && <polyline class="of-class" points={d.ofClass.map((p) => p.join(",")).join(" ")} />}
        {d.critical !== null && <path class="critical" d={`M${d.critical} 0V${HEIGHT}`} />}
        {d.own.map((p, i) => <circle key={i} class="own" cx={p.x} cy={p.y} r={p.r} />)}
        <path class="now-halo" d={`M${d.now.x} ${d.now.y - 7}l7 7l-7 7l-7 -7z`} />
        <path class="now" d={`M${d.now.x} ${d.now.y - 6}l6 6l-6 6l-6 -6z`} />
      </svg>
      <p class="keys-line hint">
        <span><svg viewBox="0 0 14 10" width="14" height="10" aria-hidden="true"><circle class="own" cx="7" cy="5" r="4" /></svg> seen here</span>
        <span><svg viewBox="0 0 18 10" width="18" height="10" aria-hidden="true"><path class="of-class" d="M0 5h18" /></svg> zones of its class</span>
        <span><svg viewBox="0 0 8 10" width="8" height="10" aria-hidden="true"><path class="critical" d="M4 0v10" /></svg> critical density</span>
        <span><svg viewBox="0 0 14 14" width="14" height="14" aria-hidden="true"><path class="now" d="M7 1l6 6l-6 6l-6 -6z" /></svg> now</span>
      </p>
    </>
  );
}

/** How its index went. */
function IndexHistory({ id }: { id: string }) {
  const { watch } = useWatch();
  const span = SPANS[chosen.value]!;
  const [trouble, setTrouble] = useState("");
  const of = useMemo(() => ({ series: [[], []] as Series, changes: signal(0) }), [span]);
  useEffect(() => {
    const stop = new AbortController();
    const load = async (): Promise<void> => {
      const to = new Date(watch.now.peek());
      const query = { from: new Date(to.getTime() - span.ms).toISOString(), to: to.toISOString(), every: span.every, fields: ["congestion_index", "congestion_index.max"], limit: 500 };
      try {
        of.series = indexOf((await api.get("/api/v1/congestion/zones/{zone_id}/history", { path: { zone_id: id }, query, signal: stop.signal })).items ?? []);
        of.changes.value++;
        setTrouble("");
      } catch (e) {
        if (e instanceof ApiError && !stop.signal.aborted) setTrouble(e.status === 503 ? "The history is not there just now." : e.message);
      }
    };
    void load();
    const timer = setInterval(() => void load(), HISTORY_MS);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [id, span]);
  return (
    <>
      <label class="row">Last <select value={chosen.value} onChange={(e) => (chosen.value = Number(e.currentTarget.value))}>{SPANS.map((s, i) => <option key={s.word} value={i}>{s.word}</option>)}</select></label>
      <Chart key={span.word} title="Congestion index" series={() => of.series} changes={of.changes} columns={[1, 2]} range={[0, 1]} digits={2} lines={[{ name: "mean", colour: "--robot-moving" }, { name: "greatest", colour: "--robot-paused", dash: [3, 3] }]} />
      {trouble !== "" && <p class="hint" role="status">{trouble}</p>}
    </>
  );
}
