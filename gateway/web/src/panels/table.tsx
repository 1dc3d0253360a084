import { useEffect, useRef, useState } from "preact/hooks";

const ROW_PX = 30;
const SPARE = 6;

export interface Column<T> {
  name: string;
  /** CSS width of the column. */
  width: string;
  /** The table's width, px, from which on it is shown; 0 = always. */
  from?: number;
  cell(item: T): preact.ComponentChildren;
}

/**
 * A table of any length: only the rows in view are in the document. Arrow keys walk, Enter chooses.
 */
export function Table<T>(o: {
  label: string;
  columns: Column<T>[];
  items: readonly T[];
  keyOf(item: T): string;
  chosen: string | null;
  choose(item: T): void;
  empty: string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(300);
  const led = useRef<string | null>(null);
  const [width, setWidth] = useState(1000);
  useEffect(() => {
    const resized = new ResizeObserver(() => {
      setHeight(box.current?.clientHeight ?? 300);
      setWidth(box.current?.clientWidth ?? 1000);
    });
    resized.observe(box.current!);
    return () => resized.disconnect();
  }, []);
  useEffect(() => {
    // What was chosen elsewhere, on the map say, is brought into view: once, then the hand on the table decides.
    if (led.current === o.chosen) return;
    const at = o.chosen === null ? -1 : o.items.findIndex((item) => o.keyOf(item) === o.chosen);
    if (at < 0 && o.chosen !== null) return; // perhaps it is still to come
    led.current = o.chosen;
    const rows = box.current!, y = at * ROW_PX;
    if (at >= 0 && (y < rows.scrollTop || y + ROW_PX > rows.scrollTop + rows.clientHeight)) rows.scrollTop = y - (rows.clientHeight - ROW_PX) / 2;
  }, [o.chosen, o.items]);
  const first = Math.max(0, Math.floor(top / ROW_PX) - SPARE);
  const last = Math.min(o.items.length, Math.ceil((top + height) / ROW_PX) + SPARE);
  const columns = o.columns.filter((c) => width >= (c.from ?? 0));
  const grid = { gridTemplateColumns: columns.map((c) => c.width).join(" ") };
  // One row is a stop of the Tab key; the arrows lead to the others.
  const shown = o.items.slice(first, last);
  const stop = Math.max(first === 0 ? 0 : SPARE, shown.findIndex((item) => o.keyOf(item) === o.chosen));
  const walk = (e: KeyboardEvent, at: number, item: T): void => {
    if (e.target !== e.currentTarget) return;
    const rows = box.current!;
    if (e.key === "Enter" || e.key === " ") o.choose(item);
    else if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      const next = at + (e.key === "ArrowDown" ? 1 : -1);
      const y = next * ROW_PX;
      if (y < rows.scrollTop) rows.scrollTop = y;
      else if (y + 2 * ROW_PX > rows.scrollTop + height) rows.scrollTop = y + 2 * ROW_PX - height;
      requestAnimationFrame(() => rows.querySelector<HTMLElement>(`[aria-rowindex="${next + 2}"]`)?.focus());
    } else return;
    e.preventDefault();
  };
  return (
    <div class="table" role="table" aria-label={o.label} aria-rowcount={o.items.length + 1}>
      <div role="rowgroup" class="head-row">
        <div role="row" style={grid} aria-rowindex={1}>{columns.map((c) => <span key={c.name} role="columnheader">{c.name}</span>)}</div>
      </div>
      <div ref={box} class="rows" role="rowgroup" tabIndex={-1} onScroll={(e) => setTop(e.currentTarget.scrollTop)}>
        {o.items.length === 0 && <div role="row" class="none"><span role="cell" class="empty">{o.empty}</span></div>}
        <div role="presentation" style={{ height: `${first * ROW_PX}px` }} />
        {shown.map((item, i) => {
          const key = o.keyOf(item);
          return (
            <div key={key} role="row" tabIndex={i === stop ? 0 : -1} style={grid} aria-rowindex={first + i + 2} class={key === o.chosen ? "chosen" : ""} {...(key === o.chosen ? { "aria-current": "true" as const } : {})} onClick={() => o.choose(item)} onKeyDown={(e) => walk(e, first + i, item)}>
              {columns.map((c) => <span key={c.name} role="cell">{c.cell(item)}</span>)}
            </div>
          );
        })}
        <div role="presentation" style={{ height: `${Math.max(0, o.items.length - last) * ROW_PX}px` }} />
      </div>
    </div>
  );
}
