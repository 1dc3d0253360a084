import { bytesOf, type Lines, STYLE } from "./lines.js";
import type { Scene } from "./scene.js";

/** That one robot waits for another, by their ids. */
export interface Wait {
  robot_id: string;
  holder_id: string;
}

/** What a wait belongs to; bits. */
export const WAIT = { chain: 1, ring: 2 } as const;

/** A wait between two rows of the robots' table; `kind`: bits of {@link WAIT}. */
export interface WaitEdge {
  from: number;
  to: number;
  kind: number;
}

/** Waits that are drawn at most. */
export const MOST_EDGES = 2_000;

/** Who waits for whom. Each robot waits for one at most, so that from each a single chain leads on: to a root, or into a ring. */
export class WaitGraph {
  /** Robots of rings. */
  readonly ringed = new Set<string>();
  readonly #next = new Map<string, string>();

  constructor(waits: Iterable<Wait>) {
    for (const w of waits) if (w.robot_id !== w.holder_id && !this.#next.has(w.robot_id)) this.#next.set(w.robot_id, w.holder_id);
    this.#findRings();
  }

  /** Robots from this one to the last, itself first; a ring is gone round once. Just itself where it waits for nobody. */
  chain(id: string): string[] {
    const out: string[] = [], seen = new Set<string>();
    for (let at: string | undefined = id; at !== undefined && !seen.has(at); at = this.#next.get(at)) {
      seen.add(at);
      out.push(at);
    }
    return out;
  }

  /** What there is to draw, in the order in which it lies: plain waits, rings, the chain of `selected`. `all` false: the chain alone. */
  edges(selected: string | null, all: boolean, row: (id: string) => number): WaitEdge[] {
    const chain = new Set(selected === null ? [] : this.chain(selected));
    const out: WaitEdge[] = [];
    for (const [id, holder] of this.#next) {
      const kind = (chain.has(id) ? WAIT.chain : 0) | (this.ringed.has(id) ? WAIT.ring : 0);
      if (!all && (kind & WAIT.chain) === 0) continue;
      const from = row(id), to = row(holder);
      if (from >= 0 && to >= 0) out.push({ from, to, kind });
    }
    const weight = (e: WaitEdge): number => 2 * (e.kind & WAIT.chain) + (e.kind & WAIT.ring ? 1 : 0);
    return out.sort((a, b) => weight(a) - weight(b)).slice(-MOST_EDGES);
  }

  #findRings(): void {
    const done = new Set<string>();
    for (const start of this.#next.keys()) {
      const way = new Map<string, number>(), ids: string[] = [];
      let at: string | undefined = start;
      while (at !== undefined && !done.has(at) && !way.has(at)) {
        way.set(at, ids.length);
        ids.push(at);
        at = this.#next.get(at);
      }
      const from = at === undefined ? undefined : way.get(at);
      if (from !== undefined) ids.slice(from).forEach((id) => this.ringed.add(id));
      ids.forEach((id) => done.add(id));
    }
  }
}

/** Whether two lists show the same between the same rows. */
export function sameEdges(a: readonly WaitEdge[], b: readonly WaitEdge[]): boolean {
  return a.length === b.length && a.every((e, i) => e.from === b[i]!.from && e.to === b[i]!.to && e.kind === b[i]!.kind);
}

/** The waits, from who waits to whom it waits for. Rings are dashed in the colour of alarm, the chain of the selected robot is wide. */
export function waitLines(s: Scene, out: Lines): void {
  out.clear();
  if (s.detail !== "robots") return;
  const { fleet, theme: { rgba } } = s;
  const halo = bytesOf(rgba["map-text-halo"], 0.85);
  const plain = bytesOf(rgba["wait"]), ring = bytesOf(rgba["wait-ring"]), chain = bytesOf(rgba["select"]);
  for (const e of s.waits) {
    if (!fleet.has(e.from) || !fleet.has(e.to)) continue;
    const x0 = fleet.xAt(e.from, Infinity), y0 = fleet.yAt(e.from, Infinity), x1 = fleet.xAt(e.to, Infinity), y1 = fleet.yAt(e.to, Infinity);
    const wide = e.kind & WAIT.chain ? 5 : e.kind & WAIT.ring ? 4 : 2.5;
    out.add(x0, y0, x1, y1, 0, wide + 2.5, STYLE.solid, halo);
    if (e.kind & WAIT.chain) out.add(x0, y0, x1, y1, 0, wide, STYLE.arrows, chain);
    if (e.kind & WAIT.ring) out.add(x0, y0, x1, y1, 0, e.kind & WAIT.chain ? 2.5 : wide, STYLE.dashed, ring);
    if (e.kind === 0) out.add(x0, y0, x1, y1, 0, wide, STYLE.arrows, plain);
  }
}
