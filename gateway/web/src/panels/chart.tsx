import { effect, type Signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { useWatch } from "../page.js";
import type { Series } from "../memory.js";
import { count } from "../words.js";
import { theme } from "../theme.js";

interface Line {
  name: string;
  /** The token of its colour. */
  colour: string;
  /** Strokes and gaps, px: lines that lie close are told apart without their colours. */
  dash?: number[];
}

const HEIGHT = 110;
const MINUTE_S = 60;

/** A chart over the last minutes. `columns`: which columns of the series are drawn, one a line. */
export function Chart(o: { title: string; series: () => Series; changes: Signal<number>; lines: Line[]; columns: number[]; range?: [number, number]; height?: number; digits?: number }) {
  const { clock } = useWatch();
  const host = useRef<HTMLDivElement>(null);
  const text = useRef<HTMLSpanElement>(null);
  useEffect(() => {
    const box = host.current!;
    let chart: uPlot | null = null;
    const pick = (): uPlot.AlignedData => {
      const s = o.series(), columns = o.columns.map((c) => s[c] ?? []);
      // uPlot spreads a single point over a day.
      const t = s[0].length === 1 ? s[0][0]! : NaN;
      return Number.isNaN(t) ? [s[0], ...columns] : [[t - MINUTE_S, t], ...columns.map((c) => [null, ...c])];
    };
    const make = (): uPlot => {
      const style = getComputedStyle(box);
      const ink = style.getPropertyValue("--ink-3"), line = style.getPropertyValue("--line");
      const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 }, font: "11px system-ui, sans-serif" };
      return new uPlot(
        {
          width: Math.max(120, box.clientWidth), height: o.height ?? HEIGHT, legend: { show: false }, cursor: { y: false, drag: { x: false, y: false } },
          tzDate: (t) => uPlot.tzDate(new Date(t * 1000), clock.zone),
          // One point has no extent of its own: the last minute, then.
          scales: { x: { range: (_, least, most) => (most - least >= MINUTE_S ? [least, most] : [most - MINUTE_S, most]) }, y: o.range ? { range: o.range } : { range: (_, __, most) => [0, Math.max(1, (most ?? 0) * 1.1)] } },
          axes: [{ ...axis, space: 60, size: 24, values: (_, ts) => ts.map((t) => clock.time(t * 1000).slice(0, (ts[1] ?? 0) - (ts[0] ?? 0) < 60 ? 8 : 5)) }, { ...axis, size: 52, space: 24 }],
          series: [{}, ...o.lines.map((l) => ({ label: l.name, stroke: style.getPropertyValue(l.colour), width: 1.75, ...(l.dash ? { dash: l.dash } : {}), spanGaps: false, points: { show: false } }))],
        },
        pick(),
        box,
      );
    };
    const stop = effect(() => {
      void theme.value;
      chart?.destroy();
      chart = make();
    });
    const follow = effect(() => {
      void o.changes.value;
      const data = pick();
      chart?.setData(data);
      if (text.current) text.current.textContent = o.lines.map((l, i) => `${l.name} ${lastOf(data[i + 1] as (number | null)[], o.digits)}`).join(" · ");
    });
    const resized = new ResizeObserver(() => chart?.setSize({ width: Math.max(120, box.clientWidth), height: o.height ?? HEIGHT }));
    resized.observe(box);
    return () => {
      stop();
      follow();
      resized.disconnect();
      chart?.destroy();
    };
  }, []);
  return (
    <figure class="chart">
      <figcaption>
        {o.title} {o.lines.length > 1 && o.lines.map((l) => <span key={l.name} class="key"><i class={l.dash ? "dashed" : ""} style={{ color: `var(${l.colour})` }} />{l.name}</span>)} <span class="last" ref={text} />
      </figcaption>
      <div ref={host} aria-hidden="true" />
    </figure>
  );
}

function lastOf(column: (number | null)[], digits = 1): string {
  const v = column.findLast((x) => x !== null);
  if (v === undefined || v === null) return "—";
  return Number.isInteger(v) || Math.abs(v) >= 100 ? count(Math.round(v)) : v.toFixed(digits);
}
