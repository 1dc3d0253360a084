import { robotPx } from "./detail.js";
import { WORDS } from "./fleet.js";
import { pack, PAINTS, SHAPES } from "./look.js";
import { flowLines } from "./flow.js";
import { jamLines } from "./heat.js";
import { laneLines, LINE_WORDS, Lines, orderLines, zoneLines } from "./lines.js";
import { type Painter, type Scene, SIGN_FROM_PX } from "./scene.js";
import * as shader from "./shaders.js";
import { PAINT_TOKENS, type Rgba } from "./theme.js";
import { waitLines } from "./waits.js";
import { fillOf } from "./zones.js";

const ZONE_WORDS = 4; // x, y, colour, hatch
const LINE_KINDS = ["lanes", "flow", "jams", "zones", "order", "waits"] as const;

interface Program {
  program: WebGLProgram;
  at: Record<string, WebGLUniformLocation | null>;
}

interface LineBuffer {
  lines: Lines;
  buffer: WebGLBuffer;
  array: WebGLVertexArrayObject;
}

/** Paints with WebGL 2: one call each for floor, zones, lines and all robots. */
export class GlPainter implements Painter {
  readonly kind = "webgl";
  #gl: WebGL2RenderingContext;
  #floor: Program;
  #zone: Program;
  #line: Program;
  #robot: Program;
  #bare: WebGLVertexArrayObject;
  #cells: WebGLTexture | null = null;
  #robots: { buffer: WebGLBuffer; array: WebGLVertexArrayObject };
  #signs: { buffer: WebGLBuffer; array: WebGLVertexArrayObject; count: number };
  #zones: { buffer: WebGLBuffer; array: WebGLVertexArrayObject; f32: Float32Array; u32: Uint32Array; count: number };
  #lines = {} as Record<(typeof LINE_KINDS)[number], LineBuffer>;
  #seen = { fleet: -1, floor: -1, lines: -1, theme: -1, lanes: -1, lanesTheme: -1, flow: -1, jams: -1, waits: -1 };
  #paints = new Float32Array(4 * PAINTS.length);
  #fleet: Float32Array = new Float32Array(0);
  #upload = (from: number, to: number): void => {
    this.#gl.bufferSubData(this.#gl.ARRAY_BUFFER, from * WORDS * 4, this.#fleet, from * WORDS, (to - from) * WORDS);
  };

  /** Throws where a shader is refused. */
  constructor(gl: WebGL2RenderingContext) {
    this.#gl = gl;
    this.#floor = link(gl, shader.floorVertex, shader.floorFragment);
    this.#zone = link(gl, shader.zoneVertex, shader.zoneFragment);
    this.#line = link(gl, shader.lineVertex, shader.lineFragment);
    this.#robot = link(gl, shader.robotVertex, shader.robotFragment);
    this.#bare = gl.createVertexArray();
    this.#robots = robotArray(gl);
    this.#signs = { ...robotArray(gl), count: 0 };
    this.#zones = zoneArray(gl);
    for (const kind of LINE_KINDS) this.#lines[kind] = lineArray(gl);
    gl.disable(gl.CULL_FACE);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.depthFunc(gl.LEQUAL);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  }

  take(s: Scene): void {
    const gl = this.#gl, { fleet } = s;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.#robots.buffer);
    if (fleet.revision !== this.#seen.fleet) {
      this.#seen.fleet = fleet.revision;
      gl.bufferData(gl.ARRAY_BUFFER, fleet.f32, gl.DYNAMIC_DRAW);
      fleet.dirty.fill(0);
    }
    this.#fleet = fleet.f32;
    fleet.drain(this.#upload);
  }

  draw(s: Scene): void {
    const gl = this.#gl;
    this.#prepare(s);
    gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.disable(gl.DEPTH_TEST);
    gl.clearColor(s.theme.ground[0], s.theme.ground[1], s.theme.ground[2], 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    this.#drawFloor(s);
    if (this.#zones.count > 0) {
      this.#use(this.#zone, s);
      gl.bindVertexArray(this.#zones.array);
      gl.drawArrays(gl.TRIANGLES, 0, this.#zones.count);
    }
    if (s.layers.lanes) this.#drawLines("lanes", s, Math.min(4, Math.max(1, 0.12 * s.cell * s.camera.scale)));
    if (s.layers.flow) this.#drawLines("flow", s, 1);
    if (s.layers.jams) this.#drawLines("jams", s, 1);
    this.#drawLines("zones", s, 1);
    if (s.detail === "robots") this.#drawSigns(s);
    this.#drawLines("order", s, 1);
    if (s.detail === "robots") {
      this.#drawRobots(s);
      this.#drawLines("waits", s, 1); // above the robots: those that stand side by side would hide them
    }
    gl.bindVertexArray(null);
  }

  destroy(): void {
    const gl = this.#gl;
    for (const p of [this.#floor, this.#zone, this.#line, this.#robot]) gl.deleteProgram(p.program);
    for (const b of [this.#robots, this.#signs, this.#zones, ...Object.values(this.#lines)]) {
      gl.deleteBuffer(b.buffer);
      gl.deleteVertexArray(b.array);
    }
    gl.deleteVertexArray(this.#bare);
    gl.deleteTexture(this.#cells);
  }

  #use(p: Program, s: Scene): void {
    const gl = this.#gl;
    gl.useProgram(p.program);
    gl.uniform3f(p.at["u_camera"]!, s.camera.x, s.camera.y, s.camera.scale);
    gl.uniform3f(p.at["u_host"]!, s.width, s.height, s.dpr);
  }

  #prepare(s: Scene): void {
    const gl = this.#gl, seen = this.#seen, { rev } = s;
    if (seen.theme !== rev.theme) {
      seen.theme = rev.theme;
      PAINT_TOKENS.forEach((token, i) => this.#paints.set(s.theme.rgba[token], 4 * i));
      gl.useProgram(this.#robot.program);
      gl.uniform4fv(this.#robot.at["u_paints"]!, this.#paints);
    }
    if (seen.floor !== rev.floor) {
      seen.floor = rev.floor;
      this.#prepareCells(s);
      this.#prepareSigns(s);
    }
    if (seen.lanes !== rev.floor || seen.lanesTheme !== rev.theme) {
      seen.lanes = rev.floor;
      seen.lanesTheme = rev.theme;
      laneLines(s, this.#lines.lanes.lines);
      this.#sendLines(this.#lines.lanes);
    }
    if (seen.lines !== rev.lines) {
      seen.lines = rev.lines;
      zoneLines(s, this.#lines.zones.lines);
      orderLines(s, this.#lines.order.lines);
      this.#sendLines(this.#lines.zones);
      this.#sendLines(this.#lines.order);
      this.#prepareZones(s);
    }
    if (seen.flow !== rev.flow) {
      seen.flow = rev.flow;
      flowLines(s, this.#lines.flow.lines);
      this.#sendLines(this.#lines.flow);
    }
    if (seen.jams !== rev.jams) {
      seen.jams = rev.jams;
      jamLines(s, this.#lines.jams.lines);
      this.#sendLines(this.#lines.jams);
    }
    if (seen.waits !== rev.waits) {
      seen.waits = rev.waits;
      waitLines(s, this.#lines.waits.lines);
      this.#sendLines(this.#lines.waits);
    }
  }

  #sendLines(b: LineBuffer): void {
    const gl = this.#gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, b.buffer);
    gl.bufferData(gl.ARRAY_BUFFER, b.lines.f32, gl.DYNAMIC_DRAW, 0, b.lines.count * LINE_WORDS);
  }

  #prepareCells(s: Scene): void {
    const gl = this.#gl;
    gl.deleteTexture(this.#cells);
    this.#cells = null;
    const grid = s.floor?.grid;
    if (!grid) return;
    const { cols, rows, bytes } = shrunk(grid, gl.getParameter(gl.MAX_TEXTURE_SIZE) as number);
    this.#cells = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.#cells);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, cols, rows, 0, gl.RED, gl.UNSIGNED_BYTE, bytes);
    gl.generateMipmap(gl.TEXTURE_2D);
    // Near, cells have sharp borders; far, several share a pixel and picking one of them would shimmer.
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  }

  // Places are drawn by the robots' shader: points that stand still.
  #prepareSigns(s: Scene): void {
    const gl = this.#gl;
    const places = s.floor?.places.filter((p) => p.parking || p.charging) ?? [];
    const f32 = new Float32Array(places.length * WORDS), u32 = new Uint32Array(f32.buffer);
    places.forEach((p, i) => {
      f32.set([p.x, p.y, p.x, p.y, 0, 0, 0, 0], i * WORDS);
      const sign = p.charging ? (["charger", "charging-place"] as const) : (["parking", "parking"] as const);
      u32[i * WORDS + 8] = pack(SHAPES.indexOf(sign[0]), PAINTS.indexOf(sign[1]), 0, 0);
    });
    this.#signs.count = places.length;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.#signs.buffer);
    gl.bufferData(gl.ARRAY_BUFFER, f32, gl.STATIC_DRAW);
  }

  #prepareZones(s: Scene): void {
    const gl = this.#gl, z = this.#zones;
    let corners = 0;
    for (const zone of s.zones) corners += zone.triangles.length;
    if (corners * ZONE_WORDS > z.f32.length) {
      z.f32 = new Float32Array(2 * corners * ZONE_WORDS);
      z.u32 = new Uint32Array(z.f32.buffer);
    }
    z.count = 0;
    for (const zone of s.zones) {
      const c = fillOf(zone.shape, s.fill, s.theme);
      if (!c || c[3] === 0) continue;
      const colour = rgbaBytes(c), hatch = zone.shape.kind === "keep_out" ? 1 : 0;
      for (const i of zone.triangles) {
        const o = ZONE_WORDS * z.count++, [x, y] = zone.shape.ring[i]!;
        z.f32[o] = x;
        z.f32[o + 1] = y;
        z.u32[o + 2] = colour;
        z.f32[o + 3] = hatch;
      }
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, z.buffer);
    gl.bufferData(gl.ARRAY_BUFFER, z.f32, gl.DYNAMIC_DRAW, 0, z.count * ZONE_WORDS);
  }

  #drawFloor(s: Scene): void {
    const gl = this.#gl, p = this.#floor, grid = s.floor?.grid, { rgba } = s.theme;
    if (!s.floor) return;
    this.#use(p, s);
    if (grid) gl.uniform4f(p.at["u_rect"]!, 0, 0, grid.cols * grid.resolution, grid.rows * grid.resolution);
    else gl.uniform4f(p.at["u_rect"]!, s.bounds[0] - s.cell, s.bounds[1] - s.cell, s.bounds[2] + s.cell, s.bounds[3] + s.cell);
    gl.uniform2f(p.at["u_count"]!, grid?.cols ?? 0, grid?.rows ?? 0);
    gl.uniform1f(p.at["u_cellPx"]!, s.cell * s.camera.scale);
    colour(gl, p.at["u_free"], rgba["floor-free"]);
    colour(gl, p.at["u_blocked"], rgba["floor-blocked"]);
    colour(gl, p.at["u_line"], rgba["floor-lane"]);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.#cells);
    gl.bindVertexArray(this.#bare);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }

  #drawLines(kind: (typeof LINE_KINDS)[number], s: Scene, widen: number): void {
    const gl = this.#gl, b = this.#lines[kind];
    if (b.lines.count === 0) return;
    this.#use(this.#line, s);
    gl.uniform1f(this.#line.at["u_widen"]!, widen);
    colour(gl, this.#line.at["u_arrow"], s.theme.rgba["map-text-halo"]);
    gl.bindVertexArray(b.array);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, b.lines.count);
  }

  #drawSigns(s: Scene): void {
    const px = Math.min(30, 0.9 * s.cell * s.camera.scale);
    if (px < SIGN_FROM_PX || this.#signs.count === 0) return;
    const gl = this.#gl, p = this.#robot;
    this.#useRobot(s, px, px + 2);
    gl.uniform3f(p.at["u_clock"]!, 0, 1, 0);
    gl.uniform1f(p.at["u_plain"]!, 1);
    gl.bindVertexArray(this.#signs.array);
    gl.drawArrays(gl.POINTS, 0, this.#signs.count);
  }

  #drawRobots(s: Scene): void {
    if (s.fleet.size === 0) return;
    const gl = this.#gl, p = this.#robot;
    const px = robotPx(s.camera.scale, s.cell, s.fleet.drawn);
    this.#useRobot(s, px, px < 8 ? px + 4 : 1.7 * px + 4);
    gl.uniform3f(p.at["u_clock"]!, Math.min(s.clock, 1e9), s.fleet.interval, s.heard);
    gl.uniform1f(p.at["u_plain"]!, 0);
    gl.enable(gl.DEPTH_TEST);
    gl.bindVertexArray(this.#robots.array);
    gl.drawArrays(gl.POINTS, 0, s.fleet.size);
    gl.disable(gl.DEPTH_TEST);
    if (s.hoverRow !== s.selectedRow) this.#drawRing(s, s.hoverRow, Math.max(px, 8), s.theme.rgba["select"], 0.55);
    this.#drawRing(s, s.selectedRow, Math.max(px, 10), s.theme.rgba["select"], 1);
  }

  // One robot once more, above all others, with a ring.
  #drawRing(s: Scene, row: number, px: number, c: Rgba, alpha: number): void {
    if (!s.fleet.has(row)) return;
    const gl = this.#gl, p = this.#robot;
    gl.uniform2f(p.at["u_size"]!, px, 1.7 * px + 16);
    gl.uniform4f(p.at["u_ring"]!, c[0], c[1], c[2], alpha);
    gl.drawArrays(gl.POINTS, row, 1);
  }

  #useRobot(s: Scene, px: number, point: number): void {
    const gl = this.#gl, p = this.#robot, { rgba } = s.theme;
    this.#use(p, s);
    gl.uniform2f(p.at["u_size"]!, px, point);
    colour(gl, p.at["u_outline"], rgba["robot-outline"]);
    colour(gl, p.at["u_strong"], rgba["map-text"]);
    colour(gl, p.at["u_alarm"], rgba["robot-error"]);
    gl.uniform4f(p.at["u_ring"]!, 0, 0, 0, 0);
  }
}

function colour(gl: WebGL2RenderingContext, at: WebGLUniformLocation | null | undefined, c: Rgba): void {
  gl.uniform4f(at ?? null, c[0], c[1], c[2], c[3]);
}

function rgbaBytes(c: Rgba): number {
  return pack(Math.round(255 * c[0]), Math.round(255 * c[1]), Math.round(255 * c[2]), Math.round(255 * c[3]));
}

function link(gl: WebGL2RenderingContext, vertex: string, fragment: string): Program {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]] as const) {
    const s = gl.createShader(type);
    if (!s) throw new Error("the context is lost");
    gl.shaderSource(s, source);
    gl.compileShader(s);
    gl.attachShader(program, s);
    gl.deleteShader(s);
    if (!gl.getShaderParameter(s, gl.COMPILE_STATUS) && !gl.isContextLost()) throw new Error(`compile a shader of the map: ${gl.getShaderInfoLog(s)}`);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(`link a shader of the map: ${gl.getProgramInfoLog(program)}`);
  const at: Program["at"] = {};
  const n = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS) as number;
  for (let i = 0; i < n; i++) {
    const name = gl.getActiveUniform(program, i)!.name;
    at[name.replace("[0]", "")] = gl.getUniformLocation(program, name);
  }
  return { program, at };
}

function robotArray(gl: WebGL2RenderingContext): { buffer: WebGLBuffer; array: WebGLVertexArrayObject } {
  const { buffer, array } = arrayOf(gl);
  const stride = WORDS * 4;
  gl.enableVertexAttribArray(0);
  gl.vertexAttribPointer(0, 4, gl.FLOAT, false, stride, 0);
  gl.enableVertexAttribArray(1);
  gl.vertexAttribPointer(1, 4, gl.FLOAT, false, stride, 16);
  gl.enableVertexAttribArray(2);
  gl.vertexAttribIPointer(2, 4, gl.UNSIGNED_BYTE, stride, 32);
  gl.bindVertexArray(null);
  return { buffer, array };
}

function zoneArray(gl: WebGL2RenderingContext): { buffer: WebGLBuffer; array: WebGLVertexArrayObject; f32: Float32Array; u32: Uint32Array; count: number } {
  const { buffer, array } = arrayOf(gl);
  const stride = ZONE_WORDS * 4, f32 = new Float32Array(0);
  gl.enableVertexAttribArray(0);
  gl.vertexAttribPointer(0, 2, gl.FLOAT, false, stride, 0);
  gl.enableVertexAttribArray(1);
  gl.vertexAttribPointer(1, 4, gl.UNSIGNED_BYTE, true, stride, 8);
  gl.enableVertexAttribArray(2);
  gl.vertexAttribPointer(2, 1, gl.FLOAT, false, stride, 12);
  gl.bindVertexArray(null);
  return { buffer, array, f32, u32: new Uint32Array(f32.buffer), count: 0 };
}

function lineArray(gl: WebGL2RenderingContext): LineBuffer {
  const { buffer, array } = arrayOf(gl);
  const stride = LINE_WORDS * 4;
  const parts = [[0, 4, gl.FLOAT, 0], [1, 3, gl.FLOAT, 16], [2, 4, gl.UNSIGNED_BYTE, 28]] as const;
  for (const [at, size, type, offset] of parts) {
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, size, type, type === gl.UNSIGNED_BYTE, stride, offset);
    gl.vertexAttribDivisor(at, 1);
  }
  gl.bindVertexArray(null);
  return { lines: new Lines(), buffer, array };
}

function arrayOf(gl: WebGL2RenderingContext): { buffer: WebGLBuffer; array: WebGLVertexArrayObject } {
  const buffer = gl.createBuffer(), array = gl.createVertexArray();
  gl.bindVertexArray(array);
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  return { buffer, array };
}

/** The cells as bytes 0 and 255, several cells in one where the card takes no texture that large. */
export function shrunk(grid: { rows: number; cols: number; free: Uint8Array }, most: number): { rows: number; cols: number; bytes: Uint8Array } {
  const k = Math.ceil(Math.max(grid.rows, grid.cols) / most);
  if (k <= 1) return { rows: grid.rows, cols: grid.cols, bytes: grid.free.map((free) => (free ? 255 : 0)) };
  const rows = Math.ceil(grid.rows / k), cols = Math.ceil(grid.cols / k);
  const bytes = new Uint8Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) bytes[r * cols + c] = grid.free[Math.min(r * k, grid.rows - 1) * grid.cols + Math.min(c * k, grid.cols - 1)] ? 255 : 0;
  }
  return { rows, cols, bytes };
}
