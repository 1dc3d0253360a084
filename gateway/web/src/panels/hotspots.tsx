import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { ApiError, type Schemas } from "starling-client";
import { faultText } from "../doing.js";
import { effectText, type Hotspot, remedyOf, worthALine } from "../heat.js";
import { useWatch } from "../page.js";
import { layers, selection } from "../route.js";
import { polling } from "../session.js";
import { percent, short } from "../words.js";
import type { Watch } from "../watch.js";
import { Level } from "./level.js";
import { RemedyButton } from "./remedy.js";
import { Spark } from "./spark.js";
import { showSpot, showZone } from "./stage.js";

type Hotspots = Schemas["Hotspots"];

const ASK_MS = 5_000;
const MOST = 50;
/** 0 = as it was measured; else how far ahead, s. */
const horizon = signal<"0" | "60">("0");

/** Asks where it jams again and again, while it is shown. */
function useHotspots(watch: Watch, ahead: "0" | "60"): { spots: Hotspots | null; trouble: string } {
  const [spots, setSpots] = useState<Hotspots | null>(null);
  const [trouble, setTrouble] = useState("");
  useEffect(() => {
    const stop = new AbortController();
    let asking = false;
    const ask = async (): Promise<void> => {
      if (asking || document.hidden) return;
      asking = true;
      try {
        const query = { warehouse_id: watch.warehouse.warehouse_id, horizon_seconds: ahead, limit: MOST };
        setSpots(await polling.get("/api/v1/congestion/hotspots", { query, signal: stop.signal }));
        setTrouble("");
      } catch (e) {
        if (stop.signal.aborted) return;
        if (!(e instanceof ApiError)) throw e;
        setTrouble(faultText(e));
      } finally {
        asking = false;
      }
    };
    void ask();
    const timer = setInterval(() => void ask(), ASK_MS);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [watch, ahead]);
  return { spots, trouble };
}

/** Where a hotspot lies: the zone that it is, or in which the lane starts. */
function zoneOf(watch: Watch, h: Hotspot): string | null {
  return h.kind === "zone" ? h.id : (watch.heat.value.get(h.id)?.zone_id ?? null);
}

function nameOf(watch: Watch, h: Hotspot): string {
  const id = zoneOf(watch, h);
  const zone = id === null ? null : (watch.zones.value.find((z) => z.zone_id === id)?.name ?? short(id));
  return h.kind === "zone" ? (zone ?? short(h.id)) : zone === null ? `Lane ${short(h.id)}` : `Lane in ${zone}`;
}

function show(watch: Watch, h: Hotspot): void {
  const zone = zoneOf(watch, h);
  layers.value = { ...layers.value, jams: true };
  if (zone !== null) selection.value = { type: "zone", id: zone };
  const { from, to } = watch.heat.value.get(h.id) ?? {};
  if (h.kind === "lane" && from && to) showSpot((from[0] + to[0]) / 2, (from[1] + to[1]) / 2);
  else if (zone !== null) showZone(watch, zone);
}

/** Where it jams, or will: the worst first, each with what may be done about it. */
export function Hotspots() {
  const { watch } = useWatch();
  const { spots, trouble } = useHotspots(watch, horizon.value);
  const items = worthALine(spots?.items ?? []);
  const ahead = spots !== null && spots.horizon_seconds > 0;
  return (
    <>
      <div class="filters">
        <div class="segments" role="radiogroup" aria-label="When">
          {([["0", "Now"], ["60", "In a minute"]] as const).map(([value, word]) => (
            <label key={value}><input type="radio" name="horizon" value={value} checked={horizon.value === value} onChange={() => (horizon.value = value)} />{word}</label>
          ))}
        </div>
        {spots?.warehouse && <span class="whole-site"><Level of={spots.warehouse.level} /> Whole warehouse {spots.warehouse.congestion_index.toFixed(2)} <Spark recent={spots.warehouse.recent} /></span>}
        <span class="spring" />
        <span class="hint" data-testid="source">{spots === null ? "" : ahead ? `Expected, by ${spots.source}: as it is and changes now, and who is on the way there.` : "As measured in the last ten seconds."}</span>
        <label class="row"><input type="checkbox" checked={layers.value.jams} onChange={() => (layers.value = { ...layers.value, jams: !layers.value.jams })} /> On the map</label>
      </div>
      {trouble !== "" && <p class="fault pad" role="status">Where it jams could not be read: {trouble}.</p>}
      <ul class="hotspots scroll" tabIndex={0} aria-label="Hotspots">
        {items.map((h) => <Spot key={`${h.kind}${h.id}`} of={h} />)}
        {spots === null && trouble === "" && <li class="empty" role="status">Reading …</li>}
        {spots !== null && items.length === 0 && (spots.warehouse === null ? <li class="empty">Nothing was measured here yet.</li> : <li class="empty calm">✓ Nothing jams{ahead ? ", and nothing is expected to" : ""}.</li>)}
      </ul>
    </>
  );
}

function Spot({ of: h }: { of: Hotspot }) {
  const { watch } = useWatch();
  const chosen = selection.value?.type === "zone" && selection.value.id === zoneOf(watch, h) && h.kind === "zone";
  return (
    <li class={`hotspot ${chosen ? "chosen" : ""}`}>
      <div class="line">
        <span class="badge"><Level of={h.level} /></span>
        <button class="link" onClick={() => show(watch, h)}>{nameOf(watch, h)}</button>
        <b class="index" title="Congestion index: the share of robot time that is lost">{h.congestion_index.toFixed(2)}</b>
        <Spark recent={h.recent} trend={h.trend} />
        <span class="figures-line">
          {h.queue_length} wait · {h.occupancy} of {h.capacity} robots{h.inbound > 0 ? ` · ${h.inbound} on their way` : ""} · speed {percent(h.mean_speed_ratio)} · risk {percent(h.risk_score)} · {percent(h.confidence)} sure
        </span>
      </div>
      <Actions of={h.suggested_actions} />
    </li>
  );
}

/** What may be done, the best first; what the server says how to do is a button that says first what it sends. */
export function Actions({ of: actions }: { of: readonly Schemas["Action"][] }) {
  if (actions.length === 0) return null;
  return (
    <ul class="actions" aria-label="Suggested actions">
      {actions.map((a) => {
        const remedy = remedyOf(a);
        return <li key={`${a.action} ${a.path} ${a.label}`}>{remedy ? <RemedyButton of={remedy} /> : <span>{a.label}</span>} <span class="hint">{effectText(a.expected)}</span></li>;
      })}
    </ul>
  );
}
