import { expect, test } from "@playwright/test";
import { advance, bounds, changeSpeed, closePlayer, film, filmFault, openFiles, playerShown, position, running, seek, speed, step, toggle } from "../src/playback.js";

const text = JSON.stringify({ floor: { rows: 1, cols: 1, cells: ["."] }, frames: [{ t: 0 }, { t: 1 }, { t: 3 }] });
const file = (content: string, name = "a.json"): File => new File([content], name);

test.beforeEach(async () => {
  closePlayer();
  speed.value = 1;
  await openFiles([file(text)]);
});

test("a recording is played from its beginning to its end", () => {
  expect([playerShown.value, running.value, filmFault.value, bounds(film.value!)]).toEqual([true, false, "", [0, 3]]);
  advance(1_000);
  expect(position.value, "it stands").toBe(0);
  toggle();
  advance(500);
  expect(position.value).toBe(0.5);
  speed.value = 4;
  advance(500);
  expect(position.value).toBe(2.5);
  advance(500);
  expect([position.value, running.value]).toEqual([3, false]);
  toggle();
  expect([position.value, running.value], "from the beginning again").toEqual([0, true]);
});

test("steps lead from frame to frame and end playing", () => {
  toggle();
  seek(0.4);
  step(1);
  expect([position.value, running.value]).toEqual([1, false]);
  seek(1.7);
  step(-1);
  expect(position.value).toBe(1);
  step(-1);
  step(-1);
  expect(position.value).toBe(0);
  seek(Infinity);
  step(1);
  expect(position.value).toBe(3);
});

test("the speed has a least and a most", () => {
  for (let i = 0; i < 9; i++) changeSpeed(1);
  expect(speed.value).toBe(8);
  for (let i = 0; i < 9; i++) changeSpeed(-1);
  expect(speed.value).toBe(0.25);
});

test("a file that cannot be played leaves what is open", async () => {
  const before = film.value;
  const faults: [File[], RegExp][] = [
    [[file("nonsense", "b.json")], /^b\.json: this is no JSON/],
    [[file("", "c.json")], /^c\.json: is empty$/],
    [[file(text), file(text)], /^2 files were dropped: open one$/],
    [[Object.defineProperty(file(text, "d.json"), "size", { value: 65 * 2 ** 20 })], /^d\.json: is 65\.0 MiB large, at most 64\.0 MiB can be played$/],
    [[Object.defineProperty(file(text, "folder"), "text", { value: () => Promise.reject(new Error("a folder")) })], /^folder: cannot be read$/],
  ];
  for (const [files, want] of faults) {
    await openFiles(files);
    expect(filmFault.value).toMatch(want);
    expect(film.value).toBe(before);
  }
  await openFiles([file(text)]);
  expect(filmFault.value).toBe("");
  await openFiles([]);
  expect(film.value).not.toBeNull();
});

test("of two files that are opened the later one is played", async () => {
  let release = (): void => {};
  const slow = Object.defineProperty(file(text, "slow.json"), "text", { value: () => new Promise<string>((done) => (release = () => done(text.replace("\"t\":3", "\"t\":9")))) });
  const first = openFiles([slow]);
  await openFiles([file(text)]);
  release();
  await first;
  expect(bounds(film.value!)).toEqual([0, 3]);
});

test("a closed player forgets", async () => {
  closePlayer();
  expect([playerShown.value, film.value]).toEqual([false, null]);
  toggle();
  step(1);
  advance(100);
  expect(running.value).toBe(false);
  const open = openFiles([file(text)]);
  closePlayer();
  await open;
  expect([playerShown.value, film.value], "it was closed before the file was read").toEqual([false, null]);
});
