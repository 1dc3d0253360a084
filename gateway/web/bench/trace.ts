import type { CDPSession, Page } from "@playwright/test";

/** What a browser's own trace says of a page over some seconds. Times in ms. */
export interface Trace {
  seconds: number;
  /** Animation frames that ran a script. */
  frames: number;
  /** Script of one animation frame. */
  frame: Quantiles;
  /** Script of one message, timer or event: all that is not a frame. */
  other: Quantiles;
  /** Share of one core that the page's main thread was busy, scripts and all else. */
  mainBusy: number;
  /** Share of one core that scripts took. */
  scriptBusy: number;
  /** Tasks of the main thread over 50 ms. */
  longTasks: number;
  /** Shares of one core that the page's and the graphics process took, all threads; without a graphics card it draws there. */
  pageCPU: number;
  graphicsCPU: number;
  heapMB: number;
}

export interface Quantiles {
  n: number;
  p50: number;
  p99: number;
  max: number;
}

interface TraceEvent {
  name: string;
  ph: string;
  ts: number;
  dur?: number;
  tdur?: number;
  pid: number;
  tid: number;
}

/** Traces a page for some seconds, by Chromium's own tracing. */
export async function trace(page: Page, seconds: number): Promise<Trace> {
  const browser = await page.context().browser()!.newBrowserCDPSession();
  const cdp = await page.context().newCDPSession(page);
  const events: TraceEvent[] = [];
  browser.on("Tracing.dataCollected", (d) => events.push(...(d.value as unknown as TraceEvent[])));
  const done = new Promise<void>((resolve) => browser.once("Tracing.tracingComplete", () => resolve()));
  await browser.send("Tracing.start", { transferMode: "ReportEvents", traceConfig: { includedCategories: ["devtools.timeline", "toplevel", "v8"] } });
  const before = await cpu(browser);
  await page.waitForTimeout(1000 * seconds);
  const after = await cpu(browser);
  await browser.send("Tracing.end");
  await done;
  const { usedSize } = await cdp.send("Runtime.getHeapUsage");
  await browser.detach();
  return { ...readEvents(events, seconds), heapMB: usedSize / 1e6, pageCPU: (after.renderer - before.renderer) / seconds, graphicsCPU: (after.GPU - before.GPU) / seconds };
}

/** CPU seconds so far of the browser's processes by their kind. */
async function cpu(browser: CDPSession): Promise<{ renderer: number; GPU: number }> {
  const { processInfo } = await browser.send("SystemInfo.getProcessInfo");
  const of = (kind: string): number => processInfo.filter((p) => p.type === kind).reduce((sum, p) => sum + p.cpuTime, 0);
  return { renderer: of("renderer"), GPU: of("GPU") };
}

/** The figures of a trace. The page's thread is the one that called the most functions. */
export function readEvents(events: readonly TraceEvent[], seconds: number): Omit<Trace, "heapMB" | "pageCPU" | "graphicsCPU"> {
  const threads = new Map<string, number>();
  for (const e of events) if (e.name === "FireAnimationFrame" || e.name === "FunctionCall") threads.set(`${e.pid}/${e.tid}`, (threads.get(`${e.pid}/${e.tid}`) ?? 0) + 1);
  const thread = [...threads].sort((a, b) => b[1] - a[1])[0]?.[0] ?? "";
  const own = events.filter((e) => e.ph === "X" && `${e.pid}/${e.tid}` === thread);
  const frames = own.filter((e) => e.name === "FireAnimationFrame");
  const calls = outermost(own.filter((e) => e.name === "FunctionCall" || e.name === "FireAnimationFrame" || e.name === "TimerFire"));
  const tasks = own.filter((e) => e.name.endsWith("RunTask") || e.name === "RunTask");
  const ms = (all: readonly TraceEvent[]): number[] => all.map((e) => (e.dur ?? 0) / 1000);
  const busy = (all: readonly TraceEvent[]): number => all.reduce((sum, e) => sum + (e.tdur ?? e.dur ?? 0), 0) / 1e6 / seconds;
  return {
    seconds, frames: frames.length, frame: quantiles(ms(frames)), other: quantiles(ms(calls.filter((e) => e.name !== "FireAnimationFrame"))),
    mainBusy: busy(outermost(tasks)), scriptBusy: busy(calls), longTasks: ms(tasks).filter((t) => t > 50).length,
  };
}

/** Those that lie in no other, thread by thread. */
function outermost(events: readonly TraceEvent[]): TraceEvent[] {
  const ends = new Map<string, number>();
  return [...events].sort((a, b) => a.ts - b.ts || (b.dur ?? 0) - (a.dur ?? 0)).filter((e) => {
    const thread = `${e.pid}/${e.tid}`;
    if (e.ts < (ends.get(thread) ?? 0)) return false;
    ends.set(thread, e.ts + (e.dur ?? 0));
    return true;
  });
}

function quantiles(all: number[]): Quantiles {
  const sorted = [...all].sort((a, b) => a - b);
  const at = (p: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? NaN;
  return { n: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}
