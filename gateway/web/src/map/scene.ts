import type { Camera, Rect } from "./camera.js";
import type { Detail } from "./detail.js";
import type { Fleet } from "./fleet.js";
import type { Floor } from "./floor.js";
import type { Theme } from "./theme.js";
import type { FlowLane } from "./flow.js";
import type { JamLane } from "./heat.js";
import type { WaitEdge } from "./waits.js";
import type { Fill, Zone } from "./zones.js";

/** The order of the selected robot: metres. */
export interface OrderLine {
  at: [number, number];
  base: [number, number][];
  horizon: [number, number][];
  goal: [number, number] | null;
}

/** A marked point: pickup or dropoff of the selected task, the place that is being chosen. */
export interface Mark {
  x: number;
  y: number;
  label: string;
  kind: "pickup" | "dropoff" | "waypoint" | "choice";
}

/** What is shown beside floor and robots. */
export interface Layers {
  zones: boolean;
  heat: boolean;
  names: boolean;
  lanes: boolean;
  /** Lanes by what they cost now. */
  flow: boolean;
  /** Who waits for whom. */
  waits: boolean;
  /** Zones and lanes by their congestion. */
  jams: boolean;
}

/** All that a picture is made of. The view writes it; whoever paints reads it, and paints it whole from nothing when need be. */
export interface Scene {
  camera: Camera;
  /** CSS pixels of the host, and device pixels in each. */
  width: number;
  height: number;
  dpr: number;
  theme: Theme;
  floor: Floor | null;
  /** The side of a cell, metres; of a robot where the map has no cells. */
  cell: number;
  bounds: Rect;
  fleet: Fleet;
  zones: readonly Zone[];
  order: OrderLine | null;
  /** Where the selected robot has been: lines, metres. */
  track: readonly (readonly [number, number][])[];
  flow: readonly FlowLane[];
  jams: readonly JamLane[];
  /** Shown whatever the layers say: the page gives those that are wanted. */
  waits: readonly WaitEdge[];
  marks: readonly Mark[];
  layers: Layers;
  selectedRow: number;
  selectedZone: string | null;
  hoverRow: number;
  /** Whether the middle is marked: someone steers by keys, and Enter means what lies there. */
  aim: boolean;
  detail: Detail;
  fill: Fill;
  /** Now as {@link Fleet.clock} counts it; Infinity = every robot stands where its motion ends. */
  clock: number;
  /** The server's now as {@link Fleet.heardClock} counts it. */
  heard: number;
  /** Each rises when its part has to be prepared anew. `lines` = zones' outlines and fills, order, lanes' colours; `waits` also when robots move. */
  rev: { floor: number; lines: number; theme: number; flow: number; waits: number; jams: number };
}

/** Paints scenes on a canvas. */
export interface Painter {
  readonly kind: "webgl" | "canvas";
  /** Uploads what changed in the fleet: its time belongs to the update, not to the frame. */
  take(s: Scene): void;
  /** Paints the whole picture. */
  draw(s: Scene): void;
  /** Gives back what the card holds. */
  destroy(): void;
}

/** Signs of parking places and chargers smaller than this are not drawn, CSS pixels. */
export const SIGN_FROM_PX = 9;
