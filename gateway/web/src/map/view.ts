import type { RobotTable } from "starling-client";
import { between, type Camera, fitted, held, panned, type Rect, rectOf, zoomedAt } from "./camera.js";
import { Clockwork } from "./clockwork.js";
import { detailOf, robotPx } from "./detail.js";
import { Fleet } from "./fleet.js";
import type { Floor } from "./floor.js";
import { type FlowLane, sameFlow } from "./flow.js";
import { listen } from "./gestures.js";
import { type JamLane, sameJams } from "./heat.js";
import { Overlay } from "./overlay.js";
import { type Hit, hitAt } from "./pick.js";
import type { Layers, Mark, OrderLine, Scene } from "./scene.js";
import { Ring } from "./ring.js";
import { Surface } from "./surface.js";
import { Theme } from "./theme.js";
import { sameEdges, type WaitEdge } from "./waits.js";
import { type Zone, zoneOf, type ZoneShape } from "./zones.js";

export type { Camera } from "./camera.js";
export type { Detail } from "./detail.js";
export type { Floor, Place } from "./floor.js";
export type { Hit } from "./pick.js";
export type { Layers, Mark, OrderLine } from "./scene.js";
export type { ZoneShape } from "./zones.js";

/** What the map tells the page. */
export interface MapOptions {
  /** A click, a tap, or Enter (which means the middle); a drag is none. */
  click(hit: Hit, e: { shift: boolean }): void;
  /** The mouse moved over the map, at most once a frame; null = it left. */
  hover(hit: Hit | null, at: { clientX: number; clientY: number }): void;
  /** After each move of the camera (at most 10 a second, and once at the end), and when {@link MapView.detail} changes. `rect` = what is visible, map metres. */
  moved(camera: Camera, rect: [number, number, number, number]): void;
  /** Forced, for tests; otherwise WebGL 2, and canvas where it is not to be had or is lost for good. */
  renderer?: "webgl" | "canvas";
  /** Robots are drawn where the table says, at once: who plays a recording moves them itself. */
  still?: boolean;
}

const MOVED_MS = 100;
const FLIGHT_MS = 350;
// Without updates robots still grow old before one's eyes.
const AGEING_MS = 2000;
const NOWHERE: Rect = [0, 0, 1, 1];

/**
 * The live map: floor, zones, robots, the order of the selected robot, marks. It lives in `host`, which it fills; the host's size, role
 * and label are the page's. Nothing is allocated for a robot or a frame.
 */
export class MapView {
  /** The server's clock minus this machine's, ms: what ages of robots are counted by. */
  clockOffsetMs = 0;

  #host: HTMLElement;
  #options: MapOptions;
  #surface: Surface;
  #overlay = new Overlay();
  #clockwork: Clockwork;
  #scene: Scene;
  #off: (() => void)[] = [];
  #written = false;
  #fitted = true;
  #flight: { from: Camera; to: Camera; since: number } | null = null;
  #movedAt = -Infinity;
  #movedTimer: ReturnType<typeof setTimeout> | undefined;
  #tookAt = -Infinity;
  #frames = new Ring(600);
  #updates = new Ring(600);

  constructor(host: HTMLElement, o: MapOptions) {
    this.#host = host;
    this.#options = o;
    const now = performance.now();
    this.#scene = {
      camera: { x: 0.5, y: 0.5, scale: 1 }, width: 0, height: 0, dpr: 1, theme: new Theme(), floor: null, cell: 1, bounds: NOWHERE,
      fleet: new Fleet(now, Date.now()), zones: [], order: null, track: [], flow: [], jams: [], waits: [], marks: [],
      layers: { zones: true, heat: false, names: true, lanes: true, flow: false, waits: false, jams: false },
      selectedRow: -1, selectedZone: null, hoverRow: -1, aim: false, detail: "robots", fill: "kind", clock: Infinity, heard: 0,
      rev: { floor: 0, lines: 0, theme: 0, flow: 0, waits: 0, jams: 0 },
    };
    this.#dressHost();
    this.#scene.theme.read(host);
    this.#surface = new Surface(host, o.renderer, () => {
      this.#scene.fleet.dirty.fill(1);
      this.#change();
    });
    this.#clockwork = new Clockwork((t) => this.#draw(t));
    this.#measure();
    const observer = new ResizeObserver(() => this.#measure());
    observer.observe(host);
    const measure = (): void => this.#measure(); // another zoom of the page is another devicePixelRatio
    addEventListener("resize", measure);
    const ageing = setInterval(() => {
      if (!document.hidden && this.#scene.fleet.drawn > 0 && performance.now() - this.#clockwork.drawnAt > AGEING_MS) this.#clockwork.ask();
    }, AGEING_MS);
    this.#off.push(() => observer.disconnect(), () => removeEventListener("resize", measure), () => clearInterval(ageing), this.#listen());
  }

  /** Who paints. */
  get renderer(): "webgl" | "canvas" {
    return this.#surface.kind;
  }

  /** Whether single robots are drawn, or zones with their counts. */
  get detail(): "robots" | "clusters" {
    return this.#scene.detail;
  }

  /** The map version that lies below; the camera stays where the bounds are the same, else it shows all of it. */
  setFloor(f: Floor | null): void {
    const s = this.#scene;
    const bounds: Rect = f?.bounds ?? NOWHERE;
    const same = bounds.every((v, i) => v === s.bounds[i]);
    s.floor = f;
    s.bounds = bounds;
    s.cell = f?.grid?.resolution ?? 1;
    s.rev.floor++;
    if (!same) this.fit();
    this.#decide();
    this.#change();
  }

  /** Once a delta; `rows` = what changed, null = all. */
  setRobots(t: RobotTable, rows: Uint32Array | null): void {
    const began = performance.now();
    const { fleet } = this.#scene;
    // How long a motion takes: as long as it takes until the next update, so that robots neither pause nor jump.
    const gap = (began - this.#tookAt) / 1000;
    if (gap > 0.1 && gap < 5) fleet.interval = Math.min(2, Math.max(0.2, fleet.interval + 0.3 * (gap - fleet.interval)));
    this.#tookAt = began;
    fleet.take(t, rows, began, this.#smooth(began));
    this.#decide();
    if (this.#scene.waits.length > 0) this.#scene.rev.waits++;
    if (this.#scene.detail === "robots") {
      if (!document.hidden) this.#surface.painter?.take(this.#scene);
      this.#written ||= this.#overlay.follows || this.#codesShow();
      this.#clockwork.ask();
    }
    this.#updates.add(performance.now() - began);
  }

  /** All zones of the map, about once a second. */
  setZones(z: readonly ZoneShape[]): void {
    const s = this.#scene;
    if (z.length === s.zones.length && z.every((shape, i) => sameZone(shape, s.zones[i]!.shape))) return;
    const known = new Map<string, Zone>(s.zones.map((zone) => [zone.shape.id, zone]));
    s.zones = z.map((shape) => zoneOf(shape, known.get(shape.id)));
    this.#decide();
    this.#changeLines();
  }

  /** The robot with the ring, the zone with the strong border; null = none. */
  setSelection(x: { robotRow: number | null; zoneId: string | null }): void {
    const s = this.#scene, row = x.robotRow ?? -1;
    if (row === s.selectedRow && x.zoneId === s.selectedZone) return;
    s.selectedRow = row;
    s.selectedZone = x.zoneId;
    this.#changeLines();
  }

  /** The order of the selected robot; null = none. */
  setOrder(o: OrderLine | null): void {
    if (sameOrder(o, this.#scene.order)) return;
    this.#scene.order = o;
    this.#changeLines();
  }

  /** Where the selected robot has been, as lines. */
  setTrack(lines: readonly (readonly [number, number][])[]): void {
    if (lines === this.#scene.track || (lines.length === 0 && this.#scene.track.length === 0)) return;
    this.#scene.track = lines;
    this.#changeLines();
  }

  /** The lanes that are dearer than without traffic, about once a second. */
  setFlow(lanes: readonly FlowLane[]): void {
    const s = this.#scene;
    if (sameFlow(lanes, s.flow)) return;
    s.flow = lanes;
    s.rev.flow++;
    if (s.layers.flow) this.#change();
  }

  /** The lanes that jam, about once in ten seconds. Of zones their shapes say it. */
  setJams(lanes: readonly JamLane[]): void {
    const s = this.#scene;
    if (sameJams(lanes, s.jams)) return;
    s.jams = lanes;
    s.rev.jams++;
    if (s.layers.jams) this.#change();
  }

  /** Who waits for whom, by rows of the table. */
  setWaits(edges: readonly WaitEdge[]): void {
    const s = this.#scene;
    if (sameEdges(edges, s.waits)) return;
    s.waits = edges;
    s.rev.waits++;
    this.#change();
  }

  /** Pins: at most some tens. */
  setMarks(m: readonly Mark[]): void {
    const was = this.#scene.marks;
    if (m.length === was.length && m.every((a, i) => sameMark(a, was[i]!))) return;
    this.#scene.marks = m;
    this.#change();
  }

  /** What is shown beside floor and robots. */
  setLayers(l: Layers): void {
    const was = this.#scene.layers;
    if ((Object.keys(l) as (keyof Layers)[]).every((name) => l[name] === was[name])) return;
    this.#scene.layers = l;
    this.#scene.rev.flow++;
    this.#scene.rev.jams++;
    this.#decide();
    this.#changeLines();
  }

  /** Reads the colours from the host's custom properties anew. */
  setTheme(): void {
    this.#scene.theme.read(this.#host);
    this.#scene.rev.theme++;
    this.#scene.rev.flow++;
    this.#scene.rev.jams++;
    this.#scene.rev.waits++;
    this.#changeLines();
  }

  /** 1 = the row's robot matches the filter; the others are dimmed. null = no filter. */
  setMatching(rows: Uint8Array | null): void {
    if (this.#scene.fleet.match(rows)) this.#clockwork.ask();
  }

  /** Where the camera looks; setting it jumps there. */
  get camera(): Camera {
    return { ...this.#scene.camera };
  }

  set camera(c: Camera) {
    this.#flight = null;
    this.#fitted = false;
    const s = this.#scene;
    this.#look(s.floor && s.width > 0 ? held(c, s.bounds, s.width, s.height) : { ...c });
  }

  /** What is visible, map metres: x0, y0, x1, y1. */
  visible(): [number, number, number, number] {
    const s = this.#scene;
    return rectOf(s.camera, s.width, s.height);
  }

  /** Shows all of the floor. */
  fit(): void {
    const s = this.#scene;
    this.#flight = null;
    this.#fitted = true;
    if (s.width > 0) this.#look(fitted(s.bounds, s.width, s.height));
  }

  /** Moves there in a moment, or at once where little motion is wished. */
  flyTo(x: number, y: number, scale = this.#scene.camera.scale): void {
    const s = this.#scene;
    const to = held({ x, y, scale }, s.bounds, s.width, s.height);
    this.#fitted = false;
    if (this.#clockwork.calm || document.hidden || s.width === 0) return this.#look(to);
    this.#flight = { from: { ...s.camera }, to, since: performance.now() };
    this.#clockwork.ask();
  }

  /** Zooms at the middle. */
  zoomBy(factor: number): void {
    const s = this.#scene;
    this.#zoom(s.width / 2, s.height / 2, factor);
  }

  /** Script milliseconds of the last (at most 600) frames and updates, oldest first; frames drawn in all. */
  get stats(): { frames: number; frameMs: Float32Array; updateMs: Float32Array } {
    return { frames: this.#frames.total, frameMs: this.#frames.values(), updateMs: this.#updates.values() };
  }

  /** Leaves the host as it was. */
  destroy(): void {
    for (const off of this.#off) off();
    clearTimeout(this.#movedTimer);
    this.#clockwork.stop();
    this.#surface.destroy();
  }

  #dressHost(): void {
    const { style } = this.#host;
    const was = { position: style.position, touchAction: style.touchAction, userSelect: style.userSelect, cursor: style.cursor };
    if (getComputedStyle(this.#host).position === "static") style.position = "relative";
    style.touchAction = "none";
    style.userSelect = "none";
    this.#off.push(() => Object.assign(style, was));
  }

  #listen(): () => void {
    const s = this.#scene;
    return listen(this.#host, {
      pan: (dx, dy) => this.#steer(panned(s.camera, s.bounds, s.width, s.height, dx, dy)),
      zoom: (px, py, factor) => this.#zoom(px, py, factor),
      click: (px, py, e) => this.#options.click(this.#hit(px, py), e),
      hover: (at) => this.#hover(at),
      fit: () => this.fit(),
      aiming: (on) => this.#aim(on),
      dragging: (on) => { this.#surface.over.style.cursor = on ? "grabbing" : ""; },
    });
  }

  #aim(on: boolean): void {
    if (on === this.#scene.aim) return;
    this.#scene.aim = on;
    this.#change();
  }

  #hit(px: number, py: number): Hit {
    const s = this.#scene;
    return hitAt({
      camera: s.camera, width: s.width, height: s.height, fleet: s.fleet, clock: s.clock === Infinity ? Infinity : s.fleet.clock(performance.now()),
      robotPx: s.detail === "robots" ? robotPx(s.camera.scale, s.cell, s.fleet.drawn) : 0, zones: s.fill === "none" ? [] : s.zones,
    }, px, py);
  }

  #hover(at: { px: number; py: number; clientX: number; clientY: number } | null): void {
    const s = this.#scene;
    const hit = at && this.#hit(at.px, at.py);
    const row = hit?.type === "robot" ? hit.row : -1;
    if (row !== s.hoverRow) {
      s.hoverRow = row;
      this.#clockwork.ask();
    }
    // Zones cover the floor: only where nothing else can be meant do they claim the hand.
    const hand = hit?.type === "robot" || (hit?.type === "zone" && s.detail === "clusters");
    this.#surface.over.style.cursor = hand ? "pointer" : "";
    this.#options.hover(hit, { clientX: at?.clientX ?? 0, clientY: at?.clientY ?? 0 });
  }

  #zoom(px: number, py: number, factor: number): void {
    const s = this.#scene;
    this.#steer(zoomedAt(s.camera, s.bounds, s.width, s.height, px, py, factor));
  }

  // A hand on the map ends a flight.
  #steer(c: Camera): void {
    this.#flight = null;
    this.#fitted = false;
    this.#look(c);
  }

  #look(c: Camera): void {
    this.#scene.camera = c;
    this.#decide();
    this.#change();
    this.#tellMoved();
  }

  #tellMoved(): void {
    if (this.#movedTimer !== undefined) return;
    const wait = this.#movedAt + MOVED_MS - performance.now();
    this.#movedTimer = setTimeout(() => {
      this.#movedTimer = undefined;
      this.#movedAt = performance.now();
      this.#options.moved(this.camera, this.visible());
    }, Math.max(0, wait));
  }

  // Robots or zones, and how these are filled.
  #decide(): void {
    const s = this.#scene;
    const detail = detailOf(s.camera.scale, s.cell, s.fleet.table?.count ?? 0, s.zones.length, s.detail);
    const fill = s.layers.jams ? "jams" : detail === "clusters" ? "clusters" : s.layers.heat ? "heat" : s.layers.zones ? "kind" : "none";
    const was = s.detail;
    s.detail = detail;
    if (detail !== was) s.rev.waits++;
    if (fill !== s.fill) {
      s.fill = fill;
      this.#changeLines();
    }
    if (detail !== was) this.#tellMoved();
  }

  #smooth(now: number): boolean {
    return this.#options.still !== true && this.#clockwork.smooth(now);
  }

  #codesShow(): boolean {
    const s = this.#scene;
    return s.detail === "robots" && (s.selectedRow >= 0 || (s.layers.names && robotPx(s.camera.scale, s.cell, s.fleet.drawn) >= 14));
  }

  #change(): void {
    this.#written = true;
    this.#clockwork.ask();
  }

  #changeLines(): void {
    this.#scene.rev.lines++;
    this.#change();
  }

  #measure(): void {
    const s = this.#scene;
    const { clientWidth: width, clientHeight: height } = this.#host;
    const dpr = Math.min(2, devicePixelRatio || 1);
    if (width === s.width && height === s.height && dpr === s.dpr) return;
    [s.width, s.height, s.dpr] = [width, height, dpr];
    if (this.#fitted) this.fit();
    else this.#look(held(s.camera, s.bounds, width, height));
  }

  // Paints; true = something goes on moving.
  #draw(now: number): boolean {
    const s = this.#scene, { painter } = this.#surface;
    if (!painter || s.width === 0 || s.height === 0) return false;
    const began = performance.now();
    if (this.#surface.resize(s.width, s.height, s.dpr)) this.#written = true;
    const flying = this.#fly(now);
    const moving = now < s.fleet.movingUntil && s.detail === "robots" && this.#smooth(now);
    s.clock = moving ? s.fleet.clock(now) : Infinity;
    s.heard = s.fleet.heardClock(Date.now() + this.clockOffsetMs);
    if (s.detail === "robots") painter.take(s);
    painter.draw(s);
    if (this.#written || this.#overlay.follows) this.#overlay.draw(this.#surface.pen, s);
    this.#written = false;
    if (flying) this.#clockwork.ask();
    else if (moving) this.#clockwork.move(s.camera.scale);
    this.#frames.add(performance.now() - began);
    return flying || moving;
  }

  #fly(now: number): boolean {
    const f = this.#flight;
    if (!f) return false;
    const t = Math.min(1, Math.max(0, (now - f.since) / FLIGHT_MS));
    if (t === 1) this.#flight = null;
    this.#look(between(f.from, f.to, t));
    return t < 1;
  }
}

// The page tells what it knows whenever something may have changed: a picture is drawn only when something did.

function sameZone(a: ZoneShape, b: ZoneShape): boolean {
  return a === b || (a.id === b.id && a.kind === b.kind && a.name === b.name && a.capacity === b.capacity && a.occupancy === b.occupancy
    && a.queue === b.queue && a.index === b.index && a.level === b.level && samePoints(a.ring, b.ring));
}

function sameOrder(a: OrderLine | null, b: OrderLine | null): boolean {
  if (!a || !b) return a === b;
  return samePoints([a.at], [b.at]) && samePoints(a.base, b.base) && samePoints(a.horizon, b.horizon) && samePoints(a.goal ? [a.goal] : [], b.goal ? [b.goal] : []);
}

function samePoints(a: readonly [number, number][], b: readonly [number, number][]): boolean {
  return a.length === b.length && a.every((p, i) => p[0] === b[i]![0] && p[1] === b[i]![1]);
}

function sameMark(a: Mark, b: Mark): boolean {
  return a.x === b.x && a.y === b.y && a.label === b.label && a.kind === b.kind;
}
