/** Times as people read them, in the warehouse's time zone. All take ms since 1970. */
export class Clock {
  readonly zone: string;
  readonly #time: Intl.DateTimeFormat;
  readonly #date: Intl.DateTimeFormat;
  readonly #day: Intl.DateTimeFormat;

  /** `zone`: IANA name; one that the browser does not know counts as UTC. */
  constructor(zone: string) {
    this.zone = known(zone) ? zone : "UTC";
    const o = { timeZone: this.zone, hourCycle: "h23" } as const;
    this.#time = new Intl.DateTimeFormat("en-GB", { ...o, hour: "2-digit", minute: "2-digit", second: "2-digit" });
    this.#date = new Intl.DateTimeFormat("en-GB", { ...o, day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
    this.#day = new Intl.DateTimeFormat("en-GB", { ...o, dateStyle: "short" });
  }

  /** 14:02:10. */
  time(ms: number): string {
    return this.#time.format(ms);
  }

  /** 14:02:10 today, else 3 Mar, 14:02. */
  at(ms: number, now: number): string {
    return this.#day.format(ms) === this.#day.format(now) ? this.time(ms) : this.#date.format(ms);
  }

  /** The zone's short name at that time: CET, GMT+8. */
  zoneName(ms: number): string {
    const parts = new Intl.DateTimeFormat("en-GB", { timeZone: this.zone, timeZoneName: "short" }).formatToParts(ms);
    return parts.find((p) => p.type === "timeZoneName")?.value ?? this.zone;
  }

  /** Of `2026-03-29T14:30` as a wall clock of the zone shows it, the ms since 1970; NaN where it is none. */
  read(local: string): number {
    const asUTC = Date.parse(`${local}Z`);
    if (Number.isNaN(asUTC)) return NaN;
    // Twice: the offset at the guess may be another than at the time itself, around a change of the clocks.
    const first = asUTC - this.#offset(asUTC);
    return asUTC - this.#offset(first);
  }

  /** The other way round: 2026-03-29T14:30. */
  local(ms: number): string {
    return new Date(ms + this.#offset(ms)).toISOString().slice(0, 16);
  }

  #offset(ms: number): number {
    const parts = new Intl.DateTimeFormat("en-GB", {
      timeZone: this.zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric",
    }).formatToParts(ms);
    const get = (type: string): number => Number(parts.find((p) => p.type === type)?.value);
    return Date.UTC(get("year"), get("month") - 1, get("day"), get("hour"), get("minute"), get("second")) - Math.floor(ms / 1000) * 1000;
  }
}

function known(zone: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}

/** 0.4 s, 14 s, 2 min 14 s, 3 h 5 min, 2 d 3 h. */
export function span(ms: number): string {
  const s = Math.max(0, ms) / 1000;
  if (s < 1) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** The time since an RFC 3339 time; "" where there is none. */
export function since(at: string | null | undefined, now: number): string {
  return at ? span(now - Date.parse(at)) : "";
}
