import { rectOf, screenX, screenY } from "./camera.js";
import { robotPx } from "./detail.js";
import { jamOf } from "./heat.js";
import { ABSENT } from "./look.js";
import { WORDS } from "./fleet.js";
import { LabelGrid, TextWidths } from "./labels.js";
import type { Mark, Scene } from "./scene.js";
import { contrast, cssOf, mixed, type Token } from "./theme.js";
import { CLUSTER_ALPHA, heatOf, loadOf, type Zone, type ZoneShape } from "./zones.js";

/** From this drawn size on robots have their codes written beside them, CSS pixels. */
export const CODES_FROM_PX = 14;
/** And as long as no more than so many are in sight. */
export const MOST_CODES = 120;

const markToken: Record<Mark["kind"], Token> = { pickup: "mark-pickup", dropoff: "mark-dropoff", waypoint: "order-base", choice: "select" };

/** What is written and pinned above the painted map: numbers of zones, codes, names, pins. A canvas of its own, drawn when it changed. */
export class Overlay {
  /** Whether the last picture held something that moves with robots. */
  follows = false;

  #grid = new LabelGrid();
  #widths = new TextWidths();
  #rows = new Int32Array(MOST_CODES + 1);

  draw(g: CanvasRenderingContext2D, s: Scene): void {
    g.setTransform(s.dpr, 0, 0, s.dpr, 0, 0);
    g.clearRect(0, 0, s.width, s.height);
    g.lineJoin = "round";
    this.follows = false;
    this.#grid.clear(s.width, s.height);
    this.#pins(g, s);
    if (s.detail === "robots" && s.fleet.has(s.selectedRow)) this.#code(g, s, s.selectedRow, true);
    if (s.fill === "clusters" || s.fill === "heat") this.#zoneNumbers(g, s);
    if (s.fill === "jams") this.#zoneLevels(g, s);
    if (s.aim) cross(g, s.width / 2, s.height / 2, s.theme.css["select"], s.theme.css["map-text-halo"]);
    if (!s.layers.names) return;
    if (s.detail === "robots") this.#codes(g, s);
    this.#placeNames(g, s);
    if (s.fill === "kind") this.#zoneNames(g, s);
  }

  // The goal as a flag, marks as pins with their labels.
  #pins(g: CanvasRenderingContext2D, s: Scene): void {
    const goal = s.order?.goal;
    if (goal) {
      const x = screenX(s.camera, s.width, goal[0]), y = screenY(s.camera, s.height, goal[1]);
      flag(g, x, y, s.theme.css["order-base"], s.theme.css["map-text-halo"]);
      this.#grid.block(x - 6, y - 26, 26, 32);
    }
    for (const m of s.marks) {
      const x = screenX(s.camera, s.width, m.x), y = screenY(s.camera, s.height, m.y);
      if (x < -40 || y < -10 || x > s.width + 40 || y > s.height + 50) continue;
      pin(g, x, y, s.theme.css[markToken[m.kind]], s.theme.css["map-text-halo"], m.kind);
      this.#grid.block(x - 10, y - 30, 20, 32);
      if (m.label) this.#text(g, s, m.label, x + 13, y - 19, "left", 600, 12, true);
    }
  }

  #zoneNumbers(g: CanvasRenderingContext2D, s: Scene): void {
    const [x0, y0, x1, y1] = rectOf(s.camera, s.width, s.height);
    for (const z of s.zones) {
      if (z.box[0] > x1 || z.box[2] < x0 || z.box[1] > y1 || z.box[3] < y0 || loadOf(z.shape) === null) continue;
      const w = (z.box[2] - z.box[0]) * s.camera.scale, h = (z.box[3] - z.box[1]) * s.camera.scale;
      if (w < 16 || h < 13) continue;
      const x = screenX(s.camera, s.width, z.x), y = screenY(s.camera, s.height, z.y);
      if (s.fill === "clusters") this.#count(g, s, z, x, y, w, h);
      else this.#text(g, s, numbers(z, w), x, y, "center", 600, 12, false);
    }
  }

  // Levels and indices of zones that jam, the worst first: where there is no room for all, they stay.
  #zoneLevels(g: CanvasRenderingContext2D, s: Scene): void {
    const [x0, y0, x1, y1] = rectOf(s.camera, s.width, s.height);
    const told = s.zones.filter((z) => jamText(z.shape) !== "" && z.x >= x0 && z.x <= x1 && z.y >= y0 && z.y <= y1);
    told.sort((a, b) => (b.shape.level ?? 0) - (a.shape.level ?? 0) || (b.shape.index ?? 0) - (a.shape.index ?? 0));
    for (const z of told) {
      const level = z.shape.level ?? 0;
      this.#text(g, s, jamText(z.shape), screenX(s.camera, s.width, z.x), screenY(s.camera, s.height, z.y), "center", level > 0 ? 700 : 500, level > 0 ? 13 : 11, false);
    }
  }

  // A zone's number, on the colour of its load.
  #count(g: CanvasRenderingContext2D, s: Scene, z: Zone, x: number, y: number, w: number, h: number): void {
    let size = Math.round(Math.min(22, Math.max(11, Math.min(w / 3.2, h / 2.2))));
    const heat = mixed(s.theme.rgba["floor-free"], heatOf(loadOf(z.shape) ?? 0, s.theme), CLUSTER_ALPHA);
    const ink = s.theme.rgba["map-text"], halo = s.theme.rgba["map-text-halo"];
    const best = contrast(ink, heat) >= contrast(halo, heat) ? ink : halo;
    // Where both numbers do not fit, smaller; where that does not help, the first alone.
    let text = numbers(z, w);
    let wide = this.#widths.of(g, this.#font(g, s, 600, size), text);
    if (wide > w - 6) {
      size = Math.max(11, Math.floor((size * (w - 6)) / wide));
      wide = this.#widths.of(g, this.#font(g, s, 600, size), text);
    }
    if (wide > w - 4) {
      text = String(z.shape.occupancy);
      wide = this.#widths.of(g, this.#font(g, s, 600, size), text);
    }
    if (!this.#grid.place(x - wide / 2, y - size / 2, wide, size)) return;
    g.textAlign = "center";
    g.textBaseline = "middle";
    g.fillStyle = cssOf(best);
    g.fillText(text, x, y);
    if (z.shape.queue > 0 && h > 2.4 * size && w > 40) {
      this.#font(g, s, 500, 11);
      g.fillText(w > 100 ? `+${z.shape.queue} waiting` : `+${z.shape.queue}`, x, y + size * 0.95);
    }
  }

  #codes(g: CanvasRenderingContext2D, s: Scene): void {
    const px = robotPx(s.camera.scale, s.cell, s.fleet.drawn);
    const { fleet } = s;
    if (px < CODES_FROM_PX || fleet.drawn === 0) return;
    const [x0, y0, x1, y1] = rectOf(s.camera, s.width, s.height);
    const { f32, u32 } = fleet;
    let n = 0;
    for (let row = 0, o = 0; row < fleet.size && n <= MOST_CODES; row++, o += WORDS) {
      const x = f32[o + 2]!, y = f32[o + 3]!;
      if (x < x0 || x > x1 || y < y0 || y > y1 || (u32[o + 8]! & 0xff) === ABSENT || row === s.selectedRow) continue;
      this.#rows[n++] = row;
    }
    if (n > MOST_CODES) return;
    for (let i = 0; i < n; i++) this.#code(g, s, this.#rows[i]!, false);
  }

  #code(g: CanvasRenderingContext2D, s: Scene, row: number, selected: boolean): void {
    const { fleet } = s, code = fleet.table?.codes[row] || fleet.table?.ids[row];
    if (!code) return;
    const px = Math.max(robotPx(s.camera.scale, s.cell, s.fleet.drawn), selected ? 10 : 0);
    const x = screenX(s.camera, s.width, fleet.xAt(row, s.clock)), y = screenY(s.camera, s.height, fleet.yAt(row, s.clock));
    if (x < -50 || y < -50 || x > s.width + 50 || y > s.height + 50) return;
    this.follows = true;
    const below = y + (selected ? px * 0.75 + 8 : px * 0.6) + 8;
    this.#text(g, s, code, x, below, "center", selected ? 700 : 500, selected ? 12 : 11, selected);
  }

  #placeNames(g: CanvasRenderingContext2D, s: Scene): void {
    if (!s.floor || s.cell * s.camera.scale < 16) return;
    const [x0, y0, x1, y1] = rectOf(s.camera, s.width, s.height);
    const off = Math.min(15, 0.5 * s.cell * s.camera.scale);
    for (const p of s.floor.places) {
      if (!p.name || p.x < x0 || p.x > x1 || p.y < y0 || p.y > y1) continue;
      const x = screenX(s.camera, s.width, p.x), y = screenY(s.camera, s.height, p.y);
      this.#text(g, s, p.name, x, y - off - 7, "center", 400, 11, false);
    }
  }

  #zoneNames(g: CanvasRenderingContext2D, s: Scene): void {
    const [x0, y0, x1, y1] = rectOf(s.camera, s.width, s.height);
    for (const z of s.zones) {
      if (!z.shape.name || z.box[0] > x1 || z.box[2] < x0 || z.box[1] > y1 || z.box[3] < y0) continue;
      const w = (z.box[2] - z.box[0]) * s.camera.scale, h = (z.box[3] - z.box[1]) * s.camera.scale;
      if (h < 140 || w < 160) continue;
      const x = screenX(s.camera, s.width, Math.max(z.box[0], x0)), y = screenY(s.camera, s.height, Math.min(z.box[3], y1));
      this.#text(g, s, z.shape.name, x + 6, y + 11, "left", 500, 11, false);
    }
  }

  // A text on a halo, where there is room for it; `always` = even where there is none.
  #text(g: CanvasRenderingContext2D, s: Scene, text: string, x: number, y: number, align: "left" | "center", weight: number, size: number, always: boolean): void {
    const font = this.#font(g, s, weight, size);
    const wide = this.#widths.of(g, font, text);
    const left = align === "left" ? x : x - wide / 2;
    if (!this.#grid.place(left - 1, y - size / 2 - 1, wide + 2, size + 2)) {
      if (!always) return;
      this.#grid.block(left - 1, y - size / 2 - 1, wide + 2, size + 2);
    }
    g.textAlign = align;
    g.textBaseline = "middle";
    g.lineWidth = 3;
    g.strokeStyle = s.theme.css["map-text-halo"];
    g.strokeText(text, x, y);
    g.fillStyle = s.theme.css["map-text"];
    g.fillText(text, x, y);
  }

  #font(g: CanvasRenderingContext2D, s: Scene, weight: number, size: number): string {
    const font = `${weight} ${size}px ${s.theme.font}`;
    if (g.font !== font) g.font = font;
    return font;
  }
}

/** L2 0.52: the level, where there is one, and the index; "" = calm. */
export function jamText(z: ZoneShape): string {
  const { level = 0, index = 0 } = z;
  if (level === 0 && jamOf(index) < 0) return "";
  return `${level > 0 ? `L${level} ` : ""}${index.toFixed(2)}`;
}

function numbers(z: Zone, wide: number): string {
  const { occupancy, capacity } = z.shape;
  return wide > 64 && capacity > 0 ? `${occupancy} / ${capacity}` : String(occupancy);
}

function cross(g: CanvasRenderingContext2D, x: number, y: number, colour: string, halo: string): void {
  g.beginPath();
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]] as const) {
    g.moveTo(x + 5 * dx, y + 5 * dy);
    g.lineTo(x + 13 * dx, y + 13 * dy);
  }
  g.strokeStyle = halo;
  g.lineWidth = 4;
  g.stroke();
  g.strokeStyle = colour;
  g.lineWidth = 2;
  g.stroke();
}

function flag(g: CanvasRenderingContext2D, x: number, y: number, colour: string, halo: string): void {
  g.beginPath();
  g.arc(x, y, 4.5, 0, 2 * Math.PI);
  g.moveTo(x, y);
  g.lineTo(x, y - 24);
  g.lineTo(x + 16, y - 18.5);
  g.lineTo(x, y - 13);
  g.closePath();
  g.strokeStyle = halo;
  g.lineWidth = 5;
  g.stroke();
  g.fillStyle = g.strokeStyle = colour;
  g.lineWidth = 2;
  g.stroke();
  g.fill();
}

// A pin whose tip is the point; its head bears what it stands for: an arrow up (pickup), down (dropoff), a dot (waypoint), a cross (choice).
function pin(g: CanvasRenderingContext2D, x: number, y: number, colour: string, halo: string, kind: Mark["kind"]): void {
  const cy = y - 19;
  g.beginPath();
  g.arc(x, cy, 9, Math.PI * 0.82, Math.PI * 0.18);
  g.lineTo(x, y);
  g.closePath();
  g.strokeStyle = halo;
  g.lineWidth = 3.5;
  g.stroke();
  g.fillStyle = colour;
  g.fill();
  g.beginPath();
  if (kind === "waypoint") g.arc(x, cy, 2.2, 0, 2 * Math.PI);
  else if (kind === "choice") {
    g.moveTo(x - 4, cy); g.lineTo(x + 4, cy);
    g.moveTo(x, cy - 4); g.lineTo(x, cy + 4);
  } else {
    const up = kind === "pickup" ? 1 : -1;
    g.moveTo(x, cy + 4.5 * up); g.lineTo(x, cy - 4 * up);
    g.moveTo(x - 3.5, cy - 0.5 * up); g.lineTo(x, cy - 4 * up); g.lineTo(x + 3.5, cy - 0.5 * up);
  }
  g.strokeStyle = halo;
  g.lineWidth = 2;
  g.stroke();
}
