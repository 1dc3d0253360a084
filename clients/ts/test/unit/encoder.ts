// Makes binary frames as docs/live.md describes them, written from the document alone and nothing like the decoder: it appends field
// after field to a list of bytes.

export interface RobotIn {
  handle: number;
  x: number; // units
  y: number;
  age: number; // 0.1 s
  heading: number;
  speed: number;
  battery: number;
  state: number;
  flags: number;
  waiting: number;
  /** Given for new robots. */
  id?: string;
  code?: string;
}
export interface MoveIn {
  handle: number;
  dx: number;
  dy: number;
  heading: number;
  speed: number;
}
export interface FrameIn {
  kind: 1 | 2;
  more?: boolean;
  id?: number;
  seq: number;
  now: number;
  coalesced?: number;
  step?: number;
  x0?: number;
  y0?: number;
  full?: RobotIn[];
  moved?: MoveIn[];
  gone?: number[];
}

export function encode(f: FrameIn): Uint8Array {
  const out: number[] = [];
  const put = (size: number, set: (v: DataView) => void): void => {
    const v = new DataView(new ArrayBuffer(size));
    set(v);
    for (let i = 0; i < size; i++) out.push(v.getUint8(i));
  };
  const u8 = (n: number): void => put(1, (v) => v.setUint8(0, n));
  const u16 = (n: number): void => put(2, (v) => v.setUint16(0, n, true));
  const u32 = (n: number): void => put(4, (v) => v.setUint32(0, n, true));
  const f32 = (n: number): void => put(4, (v) => v.setFloat32(0, n, true));
  const f64 = (n: number): void => put(8, (v) => v.setFloat64(0, n, true));
  const named = (f.full ?? []).filter((r) => r.id !== undefined);
  const full = [...named, ...(f.full ?? []).filter((r) => r.id === undefined)];
  const moved = f.moved ?? [];
  const gone = f.gone ?? [];

  u8(f.kind);
  u8(f.more ? 1 : 0);
  u16(1);
  u32(f.id ?? 1);
  f64(f.seq);
  f64(f.now);
  u32(f.coalesced ?? 0);
  f32(f.step ?? 0.25);
  f32(f.x0 ?? -10);
  f32(f.y0 ?? 20);
  [named.length, full.length, moved.length, gone.length].forEach(u32);
  full.forEach((r) => u32(r.handle));
  gone.forEach(u32);
  full.forEach((r) => u16(r.x));
  full.forEach((r) => u16(r.y));
  full.forEach((r) => u16(r.age));
  for (const column of ["heading", "speed", "battery", "state", "flags", "waiting"] as const) full.forEach((r) => u8(r[column]));
  moved.forEach((m, i) => u8(m.handle - (i === 0 ? -1 : moved[i - 1]!.handle)));
  moved.forEach((m) => u8(m.dx & 255));
  moved.forEach((m) => u8(m.dy & 255));
  moved.forEach((m) => u8(m.heading));
  moved.forEach((m) => u8(m.speed));
  for (const r of named) {
    r.id!.replace(/-/g, "").match(/../g)!.forEach((h) => u8(parseInt(h, 16)));
    const code = Buffer.from(r.code ?? "", "utf8");
    u8(code.length);
    code.forEach(u8);
  }
  return Uint8Array.from(out);
}
