import { useWatch } from "../page.js";
import { selection } from "../route.js";
import { statusOfRow } from "../words.js";
import type { ZoneStatus } from "starling-client";
import { ZoneCongestion } from "./diagram.js";
import { Chart } from "./chart.js";
import { PanelHead, Row } from "./inspector.js";
import { Sign } from "./sign.js";
import { showZone } from "./stage.js";

const MOST = 50;
const MOST_MEMBERS = 8;

/** Whether a point lies in a ring. */
export function inside(ring: readonly (readonly number[])[], x: number, y: number): boolean {
  let is = false;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    const [xi = 0, yi = 0] = ring[i]!, [xj = 0, yj = 0] = ring[j]!;
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) is = !is;
  }
  return is;
}

/** One zone: how full it is, and who is in it. */
export function ZonePanel({ id }: { id: string }) {
  const { watch } = useWatch();
  const z = watch.zones.value.find((x) => x.zone_id === id);
  if (!z) return <><PanelHead kind="Zone" name={id.slice(0, 8)} /><p class="empty" role="status">{watch.zones.value.length === 0 ? "Reading …" : "There is no such zone on the active map."}</p></>;
  const s = watch.zoneStatus.value.get(id);
  const ring = z.polygon.coordinates[0] ?? [];
  void watch.robotTick.value;
  const t = watch.table;
  const rows: number[] = [];
  for (let row = 0; t && row < t.size && rows.length < MOST; row++) if (t.live[row] === 1 && inside(ring, t.x[row]!, t.y[row]!)) rows.push(row);
  const occupancy = s?.occupancy ?? z.occupancy;
  return (
    <>
      <PanelHead kind={`Zone: ${z.kind.replace("_", " ")}`} name={z.name} />
      {z.kind === "traffic" && (
        <>
          <p class="big">{occupancy ?? "—"} of {z.capacity} robots{s && s.queue_length > 0 ? ` · ${s.queue_length} wait` : ""}</p>
          <meter min={0} max={Math.max(1, z.capacity)} value={occupancy ?? 0} high={z.capacity * 0.75} optimum={0} aria-label="Occupancy" />
        </>
      )}
      <div class="row"><button onClick={() => showZone(watch, id)}>Show on the map</button></div>
      <dl class="pairs"><Row name="Capacity">{z.capacity}</Row><Row name="Id"><code>{z.zone_id}</code></Row></dl>
      {z.kind === "traffic" && <ZoneCongestion id={id} />}
      {z.kind === "traffic" && s?.window && <Window of={s} />}
      {z.kind === "traffic" && <Chart title="Robots" series={() => watch.memory.zone(id)} changes={watch.memory.changes} lines={[{ name: "in it", colour: "--robot-moving" }, { name: "waiting", colour: "--robot-waiting" }]} columns={[1, 2]} />}
      <h3>Robots in it</h3>
      <ul class="plain">
        {t && rows.map((row) => <li key={t.ids[row]}><Sign of={statusOfRow(t, row).sign} /> <button class="link" onClick={() => (selection.value = { type: "robot", id: t.ids[row]! })}>{t.codes[row]}</button> {statusOfRow(t, row).word}</li>)}
        {rows.length === 0 && <li class="empty">none{t ? "" : " that are followed: zoom in"}</li>}
      </ul>
    </>
  );
}

/** How many robots the zone admits, and with which zones it is planned. */
function Window({ of: s }: { of: ZoneStatus }) {
  const { watch } = useWatch();
  const { limit, admitted, inbound, enforced, shadow } = s.window!;
  const leader = s.domain?.leader;
  const name = (id: string): string => watch.zones.value.find((z) => z.zone_id === id)?.name ?? id.slice(0, 8);
  const members = leader === undefined ? [] : [...watch.zoneStatus.value.values()].filter((z) => z.domain?.leader === leader && z.zone_id !== s.zone_id);
  return (
    <>
      <h3>Congestion window</h3>
      <p data-testid="window">
        {admitted} in it and {inbound} on their way, {limit > 0 ? <>of at most <b>{limit}</b>{enforced ? ": no more are let in than that" : " (not enforced now)"}</> : "no limit set"}.
        {shadow > 0 && shadow !== limit && <> The adaptive controller, which only watches, would set {shadow}.</>}
      </p>
      <p data-testid="domain">
        {leader === undefined ? "Planned by itself." : (
          <>
            Planned for the moment as one with {members.length === 0 ? "others" : members.slice(0, MOST_MEMBERS).map((m, i) => <span key={m.zone_id}>{i > 0 && ", "}<button class="link" onClick={() => (selection.value = { type: "zone", id: m.zone_id })}>{name(m.zone_id)}</button></span>)}
            {members.length > MOST_MEMBERS && ` and ${members.length - MOST_MEMBERS} more`}; {leader === s.zone_id ? "it leads" : <>led by {name(leader)}</>}, term {s.domain!.term}.
          </>
        )}
      </p>
      <Chart
        title="Window, robots" series={() => watch.memory.window(s.zone_id)} changes={watch.memory.changes} columns={[1, 2, 3, 4]}
        lines={[{ name: "in it", colour: "--robot-moving" }, { name: "on their way", colour: "--robot-charging" }, { name: "limit", colour: "--bad", dash: [6, 4] }, { name: "adaptive", colour: "--robot-manual", dash: [2, 3] }]}
      />
    </>
  );
}
