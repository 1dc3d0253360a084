import { FLOW_STEPS } from "../map/flow.js";
import { JAM_STEPS } from "../map/heat.js";
import { layers } from "../route.js";
import { count } from "../words.js";
import { waitsShown } from "./traffic.js";

/** What the colours and lines of the layers mean. */
export function Legend() {
  const { flow, waits, jams } = layers.value;
  if (!flow && !waits && !jams) return null;
  return (
    <aside class="legend" aria-label="Legend">
      {jams && <JamLegend />}
      {flow && (
        <dl aria-label="Time that a lane takes">
          <dt>Lane, by the time without traffic</dt>
          {FLOW_STEPS.map((s) => (
            <dd key={s.token}><svg viewBox="0 0 22 8" width="22" height="8" aria-hidden="true"><path d="M3 4h16" stroke={`var(--${s.token})`} stroke-width={s.width} stroke-linecap="round" /></svg> {s.name}</dd>
          ))}
        </dl>
      )}
      {waits && <WaitLegend />}
    </aside>
  );
}

function JamLegend() {
  return (
    <dl aria-label="Congestion">
      <dt>Congestion: robot time that is lost</dt>
      {[...JAM_STEPS].reverse().map((s) => (
        <dd key={s.token}>
          <svg viewBox="0 0 44 12" width="44" height="12" aria-hidden="true">
            <rect x="0" width="16" height="12" fill={`var(--${s.token})`} fill-opacity={s.alpha} /><path d="M23 6h18" stroke={`var(--${s.token})`} stroke-width={s.width} stroke-linecap="round" />
          </svg> {s.name}
        </dd>
      ))}
      <dd><svg viewBox="0 0 44 12" width="44" height="12" aria-hidden="true">{[1, 2, 3].map((l) => <rect key={l} x={16 * l - 14} y="2" width="9" height="8" fill="none" stroke="var(--map-text)" stroke-width={1 + 0.9 * l} />)}</svg> levels L1 L2 L3, by border</dd>
    </dl>
  );
}

function WaitLegend() {
  const { all, ringed, total } = waitsShown.value;
  const line = (colour: string, width: number, dash?: string) => (
    <svg viewBox="0 0 22 8" width="22" height="8" aria-hidden="true"><path d="M2 4h18" stroke={`var(--${colour})`} stroke-width={width} {...(dash ? { "stroke-dasharray": dash } : {})} /></svg>
  );
  return (
    <dl aria-label="Waits">
      <dt>Robot waits for the one at the arrow</dt>
      <dd>{line("wait", 2.5)} waits: {total > all ? `${count(all)} of ${count(total)} in view` : count(all)}</dd>
      <dd>{line("wait-ring", 4, "6 3")} for each other, in a ring: {count(ringed)}</dd>
      <dd>{line("select", 5)} the selected robot, to the root</dd>
    </dl>
  );
}
