import { MARK, SHAPES, TROUBLE } from "./look.js";

// Everything is placed in CSS pixels from the middle of the host: (point - centre) * scale, so that floats stay exact on large maps.
const head = `#version 300 es
precision highp float;
precision highp int;
uniform vec3 u_camera;  // centre x, y; scale
uniform vec3 u_host;    // CSS pixels wide, high; device pixels in each
`;
const place = `
vec2 onHost(vec2 m) { return (m - u_camera.xy) * u_camera.z; }
vec4 clip(vec2 px, float z) { return vec4(px / (0.5 * u_host.xy), z, 1.0); }
`;

/** The grid of cells: one texture, sampled nearest from near, averaged from afar; cell borders when they are far enough apart. */
export const floorVertex = `${head}${place}
uniform vec4 u_rect;
out vec2 v_uv;
void main() {
  vec2 c = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  v_uv = vec2(c.x, 1.0 - c.y);
  gl_Position = clip(onHost(mix(u_rect.xy, u_rect.zw, c)), 0.0);
}`;
export const floorFragment = `${head}
uniform sampler2D u_cells;
uniform vec2 u_count;   // cells across, down; 0 = no cells
uniform float u_cellPx;
uniform vec4 u_free, u_blocked, u_line;
in vec2 v_uv;
out vec4 o_colour;
void main() {
  float free = u_count.x > 0.0 ? texture(u_cells, v_uv).r : 1.0;
  // Cells as small as robots would outshout them: there the pattern steps back.
  float soften = 0.4 * smoothstep(1.5, 4.0, u_cellPx) * (1.0 - smoothstep(10.0, 26.0, u_cellPx));
  vec4 c = mix(u_blocked, u_free, mix(free, 1.0, soften));
  if (u_count.x > 0.0 && u_cellPx > 12.0) {
    vec2 f = fract(v_uv * u_count) * u_cellPx;
    float edge = min(min(f.x, u_cellPx - f.x), min(f.y, u_cellPx - f.y));
    c = mix(c, u_line, (1.0 - smoothstep(0.0, 1.0, edge)) * smoothstep(12.0, 28.0, u_cellPx) * 0.55);
  }
  o_colour = vec4(c.rgb * c.a, c.a);
}`;

/** Zones: coloured triangles, hatched where nobody may go. */
export const zoneVertex = `${head}${place}
layout(location=0) in vec2 a_at;
layout(location=1) in vec4 a_colour;
layout(location=2) in float a_hatch;
out vec4 v_colour;
out float v_hatch;
void main() {
  v_colour = a_colour;
  v_hatch = a_hatch;
  gl_Position = clip(onHost(a_at), 0.0);
}`;
export const zoneFragment = `${head}
in vec4 v_colour;
in float v_hatch;
out vec4 o_colour;
void main() {
  float a = v_colour.a;
  if (v_hatch > 0.5) {
    float s = abs(fract((gl_FragCoord.x + gl_FragCoord.y) / u_host.z / 10.0) - 0.5) * 10.0;
    a = mix(0.06, 0.42, 1.0 - smoothstep(0.5, 1.3, s));
  }
  o_colour = vec4(v_colour.rgb * a, a);
}`;

/** Lines of any width with round ends: solid, dashed, or with arrow heads along them. One instance is one stretch. */
export const lineVertex = `${head}${place}
layout(location=0) in vec4 a_ends;
layout(location=1) in vec3 a_style; // along, width, style
layout(location=2) in vec4 a_colour;
uniform float u_widen;
out vec2 v_at;
flat out float v_long;
flat out vec3 v_style;
flat out vec4 v_colour;
void main() {
  vec2 a = onHost(a_ends.xy), b = onHost(a_ends.zw);
  float len = length(b - a);
  vec2 along = len > 0.0 ? (b - a) / len : vec2(1.0, 0.0);
  float half_ = 0.5 * a_style.y * u_widen + 1.0;
  vec2 c = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  v_at = vec2(mix(-half_, len + half_, c.x), mix(-half_, half_, c.y));
  v_long = len;
  v_style = vec3(a_style.x * u_camera.z, a_style.y * u_widen, a_style.z);
  v_colour = a_colour;
  gl_Position = clip(a + along * v_at.x + vec2(-along.y, along.x) * v_at.y, 0.0);
}`;
export const lineFragment = `${head}
uniform vec4 u_arrow;
in vec2 v_at;
flat in float v_long;
flat in vec3 v_style;
flat in vec4 v_colour;
out vec4 o_colour;
void main() {
  float w = v_style.y;
  vec2 p = v_at;
  p.x -= clamp(p.x, 0.0, v_long);
  float soft = 0.5 / u_host.z;
  float a = 1.0 - smoothstep(-soft, soft, length(p) - 0.5 * w);
  float s = v_style.x + v_at.x;
  vec4 c = v_colour;
  if (v_style.z > 1.5) {
    float q = mod(s, 20.0) - 10.0 + abs(v_at.y) * 1.1;
    c = mix(c, u_arrow, 1.0 - smoothstep(0.6, 1.5, abs(q)));
  } else if (v_style.z > 0.5) {
    a *= smoothstep(-0.6, 0.6, 4.0 - abs(mod(s, 13.0) - 6.5));
  }
  a *= c.a;
  o_colour = vec4(c.rgb * a, a);
}`;

/** Robots and the signs of places: one point each. Half of the motion's work is here, so that a frame costs no script. */
export const robotVertex = `${head}${place}
layout(location=0) in vec4 a_way;    // from x, y; to x, y
layout(location=1) in vec4 a_turn;   // from heading, to heading; start of the motion; last heard
layout(location=2) in uvec4 a_look;  // shape, paint, marks, rank
uniform vec3 u_clock;                // now, seconds a motion takes, the server's now
uniform vec2 u_size;                 // drawn size; size of the point around it, CSS pixels
uniform vec4 u_paints[10];
flat out uvec2 v_look;
flat out vec4 v_paint;
flat out vec2 v_heading;
flat out float v_fade;
void main() {
  if (a_look.x == 255u) { gl_Position = vec4(2.0, 2.0, 2.0, 1.0); gl_PointSize = 1.0; return; }
  float t = clamp((u_clock.x - a_turn.z) / u_clock.y, 0.0, 1.0);
  float h = mix(a_turn.x, a_turn.y, t);
  v_heading = vec2(cos(h), sin(h));
  v_look = a_look.xz;
  v_paint = u_paints[a_look.y];
  float age = u_clock.z - a_turn.w;
  v_fade = mix(1.0, 0.45, smoothstep(5.0, 30.0, age));
  // Small, a crowd is a crowd: who goes about his business steps back behind who needs somebody.
  if (a_look.w < ${TROUBLE}u) v_fade *= mix(0.72, 1.0, smoothstep(5.0, 9.0, u_size.x));
  if ((a_look.z & ${MARK.dim}u) != 0u) v_fade *= 0.22;
  gl_Position = clip(onHost(mix(a_way.xy, a_way.zw, t)), 0.9 - 0.1 * float(a_look.w));
  gl_PointSize = u_size.y * u_host.z;
}`;

const shapeNumbers = SHAPES.map((s, i) => `const uint ${s.toUpperCase()} = ${i}u;`).join("\n");

export const robotFragment = `${head}
uniform vec2 u_size;
uniform vec4 u_outline, u_strong, u_alarm, u_ring;  // u_ring.a = 0: no ring
uniform float u_plain;                               // 1 = signs of places: no heading, no outline
flat in uvec2 v_look;
flat in vec4 v_paint;
flat in vec2 v_heading;
flat in float v_fade;
out vec4 o_colour;
${shapeNumbers}
float box(vec2 p, vec2 half_) { vec2 q = abs(p) - half_; return length(max(q, 0.0)) + min(max(q.x, q.y), 0.0); }
float segment(vec2 p, vec2 a, vec2 b) { vec2 d = b - a; return length(p - a - d * clamp(dot(p - a, d) / dot(d, d), 0.0, 1.0)); }
// A triangle that points along +x, its tip at the tip, its foot at x = foot.
float beak(vec2 p, float foot, float tip, float half_) {
  p.y = abs(p.y);
  vec2 n = normalize(vec2(half_, tip - foot));
  return max(dot(p - vec2(tip, 0.0), n), foot - p.x);
}
float body(uint shape, vec2 p, vec2 q, float r) {
  switch (shape) {
    case ARROW: return min(length(p) - 0.86 * r, beak(q, 0.1 * r, 1.42 * r, 0.84 * r));
    case SQUARE: return box(p, vec2(0.66 * r)) - 0.16 * r;
    case DIAMOND: return (abs(p.x) + abs(p.y) - 1.16 * r) * 0.7071;
    case BARS: return box(vec2(abs(p.x) - 0.5 * r, p.y), vec2(0.3 * r, 0.88 * r));
    case TRIANGLE: return beak(vec2(p.y + 0.12 * r, p.x), -0.7 * r, 1.25 * r, 1.12 * r);
    case CROSS: return min(abs(length(p) - 0.84 * r) - 0.16 * r, min(box(p, vec2(0.84 * r, 0.15 * r)), box(p, vec2(0.15 * r, 0.84 * r))));
    case GAP: return max(abs(length(p) - 0.8 * r) - 0.2 * r, min(0.36 * r - abs(p.x - p.y) * 0.7071, p.x + p.y) );
    case RING: return abs(length(p) - 0.8 * r) - 0.2 * r;
    case PARKING: return min(abs(box(p, vec2(0.8 * r)) - 0.1 * r) - 0.06 * r,
      min(box(p - vec2(-0.2 * r, 0.0), vec2(0.1 * r, 0.52 * r)), max(abs(length(p - vec2(-0.1 * r, 0.2 * r)) - 0.27 * r) - 0.1 * r, -0.2 * r - p.x)));
    case CHARGER: return min(abs(box(p, vec2(0.8 * r)) - 0.1 * r) - 0.06 * r,
      min(segment(p, vec2(0.16, 0.55) * r, vec2(-0.24, -0.04) * r), min(segment(p, vec2(-0.24, -0.04) * r, vec2(0.24, 0.06) * r), segment(p, vec2(0.24, 0.06) * r, vec2(-0.16, -0.55) * r))) - 0.09 * r);
    default: return length(p) - 0.92 * r;
  }
}
void main() {
  vec2 p = (gl_PointCoord - 0.5) * u_size.y;
  p.y = -p.y;
  float r = 0.5 * u_size.x, soft = 0.5 / u_host.z;
  vec2 q = vec2(dot(p, v_heading), dot(p, vec2(-v_heading.y, v_heading.x)));
  uint shape = v_look.x, marks = v_look.y;
  float d = body(shape, p, q, r);
  if (u_plain > 0.5) {
    float a = (1.0 - smoothstep(-soft, soft, d)) * v_fade;
    if (a < 0.02) discard;
    o_colour = vec4(v_paint.rgb * a, a);
    return;
  }
  bool fine = r >= 4.0;
  bool outside = (marks & ${MARK.external}u) != 0u;
  float line = max(0.7, 0.13 * r);
  float own = d;
  if (fine && shape != ARROW) d = min(d, max(beak(q, 0.7 * r, 1.66 * r, 0.5 * r), line - d));
  vec3 c = v_paint.rgb;
  if ((marks & ${MARK.hollow}u) != 0u) c = mix(u_outline.rgb, c, smoothstep(-soft, soft, own + max(1.0, (shape == BARS ? 0.14 : 0.34) * r)));
  if (shape == ARROW && r >= 5.0) {
    float v = segment(vec2(q.x, abs(q.y)), vec2(0.5 * r, 0.0), vec2(-0.12 * r, 0.5 * r)) - 0.13 * r;
    c = mix(c, u_outline.rgb, 1.0 - smoothstep(-soft, soft, v));
  }
  if ((marks & ${MARK.tasked}u) != 0u && r >= 3.0) c = mix(c, u_strong.rgb, 1.0 - smoothstep(-soft, soft, length(p) - 0.34 * r));
  float a = 1.0 - smoothstep(-soft, soft, d - line);
  c = mix(u_outline.rgb, c, 1.0 - smoothstep(-soft, soft, d));
  if (outside) {
    // A second contour around the first: the shape and its holes stay what they are.
    float far = own - line;
    float contour = smoothstep(-soft, soft, far) * (1.0 - smoothstep(-soft, soft, far - max(1.0, 0.13 * r))) * smoothstep(-soft, soft, d);
    c = mix(c, u_strong.rgb, contour);
    a = max(a, contour);
  }
  if ((marks & ${MARK.faulty}u) != 0u && fine) {
    float f = length(p - vec2(0.78 * r, 0.78 * r)) - 0.36 * r;
    c = mix(c, mix(u_outline.rgb, u_alarm.rgb, 1.0 - smoothstep(-soft, soft, f)), 1.0 - smoothstep(-soft, soft, f - 1.0));
    a = max(a, 1.0 - smoothstep(-soft, soft, f - 1.0));
  }
  a *= v_fade;
  if (u_ring.a > 0.0) {
    float ring = abs(length(p) - 1.5 * r - 5.0);
    float halo = (1.0 - smoothstep(-soft, soft, ring - 3.0)) * 0.9 * u_ring.a, edge = (1.0 - smoothstep(-soft, soft, ring - 1.5)) * u_ring.a;
    c = mix(c, u_outline.rgb, halo * (1.0 - a));
    a = max(a, halo);
    c = mix(c, u_ring.rgb, edge);
    a = max(a, edge);
  }
  if (a < 0.03) discard;
  o_colour = vec4(c * a, a);
}`;
