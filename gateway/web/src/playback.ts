import { batch, signal } from "@preact/signals";
import { type Film, FilmError, frameAt, MOST_BYTES, parseFilm } from "./film.js";

export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8] as const;

/** Whether the page shows the player of recordings, instead of the live floor. In the address as `?play`. */
export const playerShown = signal(false);
/** The recording; null = none is open. */
export const film = signal<Film | null>(null);
/** Where it came from: the name of the file. */
export const fileName = signal("");
/** Why the file that was opened last cannot be played; "" = it can. */
export const filmFault = signal("");
/** A file is being read. */
export const opening = signal(false);
/** Where it is, seconds as the frames count them. */
export const position = signal(0);
export const running = signal(false);
export const speed = signal<number>(1);
/** The robot that is looked at, by its id; "" = none. */
export const chosen = signal("");

let opened = 0;

/** Opens the first of the files that were chosen or dropped. Where it cannot be played, what was open stays open. */
export async function openFiles(files: readonly File[]): Promise<void> {
  const file = files[0];
  if (!file) return;
  const turn = ++opened;
  batch(() => {
    playerShown.value = opening.value = true;
    filmFault.value = "";
  });
  const fault = await read(file, files.length, turn);
  if (turn !== opened) return; // another file was opened meanwhile
  batch(() => {
    opening.value = false;
    filmFault.value = fault;
  });
}

async function read(file: File, files: number, turn: number): Promise<string> {
  if (files > 1) return `${files} files were dropped: open one`;
  if (file.size > MOST_BYTES) return `${file.name}: is ${megabytes(file.size)} large, at most ${megabytes(MOST_BYTES)} can be played`;
  if (file.size === 0) return `${file.name}: is empty`;
  let text: string;
  try {
    text = await file.text();
  } catch {
    return `${file.name}: cannot be read`;
  }
  try {
    const f = parseFilm(text);
    if (turn === opened) take(f, file.name);
    return "";
  } catch (e) {
    if (!(e instanceof FilmError)) throw e;
    return `${file.name}: ${e.message}`;
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

function take(f: Film, name: string): void {
  batch(() => {
    film.value = f;
    fileName.value = name;
    position.value = f.frames[0]!.t;
    chosen.value = "";
    running.value = false;
  });
}

/** Goes back to the live floor; the recording is forgotten. */
export function closePlayer(): void {
  opened++;
  batch(() => {
    playerShown.value = running.value = opening.value = false;
    film.value = null;
    filmFault.value = chosen.value = fileName.value = "";
  });
}

/** First and last time of the recording. */
export function bounds(f: Film): [number, number] {
  return [f.frames[0]!.t, f.frames[f.frames.length - 1]!.t];
}

/** Goes to a time, held to the recording. */
export function seek(t: number): void {
  const f = film.peek();
  if (!f) return;
  const [first, last] = bounds(f);
  position.value = Math.min(last, Math.max(first, t));
}

/** Plays or pauses; at the end it begins again. */
export function toggle(): void {
  const f = film.peek();
  if (!f) return;
  if (!running.peek() && position.peek() >= bounds(f)[1]) seek(-Infinity);
  running.value = !running.peek();
}

/** Goes on by a frame, or back by one, and pauses. Between two frames, back leads to the one before. */
export function step(by: 1 | -1): void {
  const f = film.peek();
  if (!f) return;
  const at = frameAt(f, position.peek()), between = position.peek() > f.frames[at]!.t;
  batch(() => {
    running.value = false;
    seek(f.frames[Math.min(f.frames.length - 1, Math.max(0, by > 0 ? at + 1 : between ? at : at - 1))]!.t);
  });
}

/** Goes on by the time that has passed, and pauses at the end. */
export function advance(passedMs: number): void {
  const f = film.peek();
  if (!f || !running.peek()) return;
  const t = position.peek() + (passedMs / 1000) * speed.peek();
  batch(() => {
    seek(t);
    if (t >= bounds(f)[1]) running.value = false;
  });
}

/** The next faster or slower speed. */
export function changeSpeed(by: 1 | -1): void {
  const at = SPEEDS.findIndex((s) => s >= speed.peek());
  speed.value = SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, at + by))]!;
}
