import { MARK, type Shape } from "./look.js";

/** The colours of one robot, as CSS. */
export interface Inks {
  paint: string;
  outline: string;
  strong: string;
  alarm: string;
}

/** Traces a shape of radius r around the origin, y down; `heading` in radians counter-clockwise. Gives the fill rule to fill it with. */
export function trace(g: CanvasPath, shape: Shape, r: number, heading: number): CanvasFillRule {
  switch (shape) {
    case "disc": case "ring": case "gap": g.arc(0, 0, 0.92 * r, 0, 2 * Math.PI); break;
    case "arrow": arrow(g, r, heading); break;
    case "square": g.roundRect(-0.82 * r, -0.82 * r, 1.64 * r, 1.64 * r, 0.16 * r); break;
    case "diamond": poly(g, [0, -1.16 * r, 1.16 * r, 0, 0, 1.16 * r, -1.16 * r, 0]); break;
    case "bars":
      g.rect(-0.8 * r, -0.88 * r, 0.6 * r, 1.76 * r);
      g.rect(0.2 * r, -0.88 * r, 0.6 * r, 1.76 * r);
      break;
    case "triangle": poly(g, [0, -1.13 * r, 1.1 * r, 0.82 * r, -1.1 * r, 0.82 * r]); break;
    case "cross":
      g.arc(0, 0, r, 0, 2 * Math.PI);
      for (const turn of [0, 1, 2, 3]) quarter(g, r, turn);
      return "evenodd";
    case "parking": case "charger": g.roundRect(-0.9 * r, -0.9 * r, 1.8 * r, 1.8 * r, 0.12 * r); break;
  }
  return "nonzero";
}

/** Draws a robot around the origin: what the shader of the robots does, for canvases (and legends). */
export function drawRobot(g: CanvasRenderingContext2D, shape: Shape, marks: number, r: number, heading: number, ink: Inks): void {
  const line = Math.max(0.7, 0.13 * r);
  const fine = r >= 4;
  const tip = shape === "arrow" || !fine ? null : beak(r, heading);
  g.lineJoin = "round";
  if (marks & MARK.external) {
    g.beginPath();
    trace(g, shape, r, heading);
    g.strokeStyle = ink.strong;
    g.lineWidth = 2 * (line + Math.max(1, 0.13 * r));
    g.stroke();
  }
  g.strokeStyle = ink.outline;
  g.lineWidth = 2 * line;
  if (tip) {
    g.beginPath();
    poly(g, tip);
    g.stroke();
    g.fillStyle = ink.paint;
    g.fill();
  }
  if (shape !== "ring" && shape !== "gap") {
    g.beginPath();
    const rule = trace(g, shape, r, heading);
    g.stroke();
    g.fillStyle = ink.paint;
    g.fill(rule);
    if (marks & MARK.hollow) hollow(g, shape, r, heading, ink);
  } else ring(g, shape === "gap", r, line, ink);
  if (shape === "arrow" && r >= 5 && !(marks & MARK.hollow)) chevron(g, r, heading, ink.outline);
  if (marks & MARK.tasked && r >= 3 && shape !== "ring") dot(g, 0, 0, 0.34 * r, ink.strong);
  if (marks & MARK.faulty && fine) {
    dot(g, 0.78 * r, -0.78 * r, 0.36 * r + 1, ink.outline);
    dot(g, 0.78 * r, -0.78 * r, 0.36 * r, ink.alarm);
  }
}

/** Draws the sign of a place around the origin. */
export function drawPlace(g: CanvasRenderingContext2D, charging: boolean, r: number, ink: string): void {
  g.strokeStyle = g.fillStyle = ink;
  g.lineWidth = Math.max(1, 0.12 * r);
  g.lineJoin = "round";
  g.beginPath();
  trace(g, "parking", r, 0);
  if (charging) {
    g.moveTo(0.16 * r, -0.55 * r);
    g.lineTo(-0.24 * r, 0.04 * r);
    g.lineTo(0.24 * r, -0.06 * r);
    g.lineTo(-0.16 * r, 0.55 * r);
  } else {
    g.moveTo(-0.2 * r, 0.52 * r);
    g.lineTo(-0.2 * r, -0.47 * r);
    g.lineTo(-0.05 * r, -0.47 * r);
    g.arc(-0.05 * r, -0.2 * r, 0.27 * r, -Math.PI / 2, Math.PI / 2);
    g.lineTo(-0.2 * r, 0.07 * r);
  }
  g.stroke();
}

function poly(g: CanvasPath, at: readonly number[]): void {
  g.moveTo(at[0]!, at[1]!);
  for (let i = 2; i < at.length; i += 2) g.lineTo(at[i]!, at[i + 1]!);
  g.closePath();
}

// A point `along` the heading and `aside` to its left, y down.
function turned(heading: number, along: number, aside: number): [number, number] {
  const c = Math.cos(heading), s = Math.sin(heading);
  return [along * c - aside * s, -(along * s + aside * c)];
}

function beak(r: number, heading: number): number[] {
  return [...turned(heading, 1.66 * r, 0), ...turned(heading, 0.7 * r, -0.5 * r), ...turned(heading, 0.7 * r, 0.5 * r)];
}

function arrow(g: CanvasPath, r: number, heading: number): void {
  // The disc with the two tangents that meet at the tip.
  const open = Math.acos(0.86 / 1.42);
  g.moveTo(...turned(heading, 1.42 * r, 0));
  g.arc(0, 0, 0.86 * r, -heading + open, -heading - open, false);
  g.closePath();
}

function quarter(g: CanvasPath, r: number, turn: number): void {
  const a = (turn * Math.PI) / 2, inner = 0.68 * r, gap = Math.asin(0.15 / 0.68);
  g.moveTo(0.21 * r * Math.cos(a + Math.PI / 4), 0.21 * r * Math.sin(a + Math.PI / 4));
  g.arc(0, 0, inner, a + gap, a + Math.PI / 2 - gap);
  g.closePath();
}

function hollow(g: CanvasRenderingContext2D, shape: Shape, r: number, heading: number, ink: Inks): void {
  const inner = r - Math.max(1, 0.34 * r);
  if (inner < 1 || shape === "cross") return;
  if (shape === "bars") {
    const wall = Math.max(1, 0.14 * r);
    g.fillStyle = ink.outline;
    for (const x of [-0.8 * r, 0.2 * r]) g.fillRect(x + wall, -0.88 * r + wall, 0.6 * r - 2 * wall, 1.76 * r - 2 * wall);
    return;
  }
  g.beginPath();
  const rule = trace(g, shape, inner, heading);
  g.fillStyle = ink.outline;
  g.fill(rule);
}

function ring(g: CanvasRenderingContext2D, gap: boolean, r: number, line: number, ink: Inks): void {
  for (const [colour, width] of [[ink.outline, 0.4 * r + 2 * line], [ink.paint, 0.4 * r]] as const) {
    g.beginPath();
    // The gap looks to the upper right.
    g.arc(0, 0, 0.8 * r, gap ? -Math.PI / 4 + 0.46 : 0, gap ? (7 * Math.PI) / 4 - 0.46 : 2 * Math.PI);
    g.strokeStyle = colour;
    g.lineWidth = width;
    g.stroke();
  }
}

function chevron(g: CanvasRenderingContext2D, r: number, heading: number, colour: string): void {
  g.beginPath();
  g.moveTo(...turned(heading, -0.12 * r, 0.5 * r));
  g.lineTo(...turned(heading, 0.5 * r, 0));
  g.lineTo(...turned(heading, -0.12 * r, -0.5 * r));
  g.lineWidth = 0.26 * r;
  g.lineCap = "round";
  g.strokeStyle = colour;
  g.stroke();
}

function dot(g: CanvasRenderingContext2D, x: number, y: number, r: number, colour: string): void {
  g.beginPath();
  g.arc(x, y, r, 0, 2 * Math.PI);
  g.fillStyle = colour;
  g.fill();
}
