import { FLOW_STEPS } from "../map/flow.js";
import { layers } from "../route.js";
import { count } from "../words.js";
import { waitsShown } from "./traffic.js";

/** What the colours and lines of the layers mean. */
export function Legend() {
  const { flow, waits } = layers.value;
  if (!flow && !waits) return null;
  return (
    <aside class="legend" aria-label="Legend">
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
