import { sparkOf, trendOf } from "../heat.js";

const WIDTH = 90, HEIGHT = 22;
/** Points of five minutes, one for ten seconds. */
const FULL = 30;

/** An index's last five minutes as a small line from 0 to 1, and how it changes now in a word. */
export function Spark({ recent, trend }: { recent: readonly number[]; trend?: number }) {
  const points = sparkOf(recent, FULL, WIDTH, HEIGHT);
  const { sign, word } = trendOf(trend ?? 0);
  const last = points[points.length - 1];
  return (
    <span class="spark">
      <svg viewBox={`-1 -2 ${WIDTH + 5} ${HEIGHT + 4}`} width={WIDTH + 5} height={HEIGHT + 4} aria-hidden="true">
        <path class="base" d={`M0 ${HEIGHT}h${WIDTH}`} />
        {points.length > 1 && <polyline points={points.map((p) => p.join(",")).join(" ")} />}
        {last && <circle cx={last[0]} cy={last[1]} r="2.2" />}
      </svg>
      {trend !== undefined && <span class="trend"><span aria-hidden="true">{sign}</span> {word}</span>}
    </span>
  );
}
