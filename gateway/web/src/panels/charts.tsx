import { useWatch } from "../page.js";
import { Chart } from "./chart.js";

/** The warehouse's tempo of the last half hour, as far as this page was open. */
export function Charts() {
  const { watch } = useWatch();
  const m = watch.memory;
  return (
    <div class="charts scroll" tabIndex={0} role="region" aria-label="Charts">
      <Chart title="Tasks done a minute" series={() => m.finished()} changes={m.changes} lines={[{ name: "done", colour: "--good" }]} columns={[1]} height={130} />
      <Chart title="P99, ms" series={() => m.latencies()} changes={m.changes} lines={[{ name: "decision", colour: "--robot-moving" }, { name: "command", colour: "--robot-paused" }]} columns={[1, 2]} height={130} />
      <Chart title="Robots" series={() => m.motion()} changes={m.changes} lines={[{ name: "moving", colour: "--robot-moving" }, { name: "waiting", colour: "--robot-waiting" }]} columns={[1, 2]} height={130} />
      <p class="hint">What this page has seen since it was opened, at most half an hour.</p>
    </div>
  );
}
