// Runs the examples of a document: its bash blocks, in their order, in one shell, so that what one sets the next may use; a js block
// with a name after its language is the file of that name in the shell's folder. A json or text block after a bash block is what that
// one prints: `…` stands for anything, and an answer may say more than the document shows.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";

interface Block {
  line: number;
  language: string;
  name: string;
  text: string;
}

/** The fenced blocks of a Markdown text. */
export function blocksOf(text: string): Block[] {
  const blocks: Block[] = [];
  const lines = text.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const [, language, name] = /^```(\w+) ?(\S*)$/.exec(lines[i]!) ?? [];
    if (language === undefined) continue;
    const line = ++i + 1;
    const begin = i;
    while (i < lines.length && lines[i] !== "```") i++;
    assert.ok(i < lines.length, `line ${line}: a block without an end`);
    blocks.push({ line, language, name: name!, text: lines.slice(begin, i).join("\n") });
  }
  return blocks;
}

/** Whether a text is as the document has it, `…` being anything. */
function like(expected: string, actual: string): boolean {
  const escaped = expected.split("…").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${escaped.join(".*")}$`, "s").test(actual);
}

/** Where an answer is not what the document says; "" where it is. */
export function difference(expected: unknown, actual: unknown, at = "$"): string {
  if (typeof expected === "string") return like(expected, String(actual)) ? "" : `${at} is ${JSON.stringify(actual)}, not ${JSON.stringify(expected)}`;
  if (typeof expected !== "object" || expected === null) return expected === actual ? "" : `${at} is ${JSON.stringify(actual)}, not ${JSON.stringify(expected)}`;
  if (typeof actual !== "object" || actual === null) return `${at} is ${JSON.stringify(actual)}`;
  if (Array.isArray(expected) !== Array.isArray(actual) || (Array.isArray(actual) && Array.isArray(expected) && actual.length < expected.length)) return `${at} is ${JSON.stringify(actual)}`;
  for (const [key, value] of Object.entries(expected)) {
    if (!(key in actual)) return `${at}.${key} is not there`;
    const found = difference(value, (actual as Record<string, unknown>)[key], `${at}.${key}`);
    if (found !== "") return found;
  }
  return "";
}

/** Holds what a block printed against the block that shows it. */
export function check(shown: Block, printed: string): void {
  const where = `line ${shown.line}`;
  if (shown.language === "json") {
    const found = difference(JSON.parse(shown.text), JSON.parse(printed));
    assert.equal(found, "", `${where}: ${found}\n${printed}`);
    return;
  }
  const lines = printed.split("\n").map((l) => l.trimEnd());
  let from = 0;
  for (const expected of shown.text.split("\n")) {
    const i = lines.findIndex((l, n) => n >= from && like(expected, l));
    assert.ok(i >= 0, `${where}: "${expected}" was not printed after line ${from} of\n${printed}`);
    from = i + 1;
  }
}

/** Runs the document at `path` in `folder`, with these variables set; gives how many blocks were run and how many answers compared. */
export async function runDocument(path: string, folder: string, env: Record<string, string>, signal: AbortSignal): Promise<{ run: number; compared: number }> {
  const blocks = blocksOf(await readFile(path, "utf8"));
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const b of blocks) if (b.language === "js") await writeFile(join(folder, basename(b.name)), b.text + "\n");
  const scripts = blocks.filter((b) => b.language === "bash");
  // What each prints goes into a file of its own; a shell option, not a subshell, so that variables stay.
  const script = ["set -euo pipefail", ...scripts.flatMap((b) => [`exec >${b.line}.out 2>${b.line}.err`, b.text])].join("\n");
  const child = spawn("bash", ["-c", script], { cwd: folder, env: { ...process.env, ...env }, stdio: "ignore", detached: true });
  const kill = (): void => void process.kill(-child.pid!, "SIGKILL"); // with whatever it has started
  signal.addEventListener("abort", kill);
  const [code] = (await once(child, "close")) as [number | null];
  signal.removeEventListener("abort", kill);
  const printed = async (b: Block, to: "out" | "err"): Promise<string> => (await readFile(join(folder, `${b.line}.${to}`), "utf8").catch(() => "")).trim();
  if (code !== 0) {
    const started = await Promise.all(scripts.map(async (b) => readFile(join(folder, `${b.line}.err`)).then(() => b, () => undefined)));
    const last = started.filter((b) => b !== undefined).at(-1);
    assert.ok(last !== undefined, "the shell did not start");
    assert.fail(`line ${last.line} ended with ${code}:\n${last.text}\n${await printed(last, "out")}\n${await printed(last, "err")}`);
  }
  let compared = 0;
  for (const [i, b] of blocks.entries()) {
    const before = blocks[i - 1];
    if ((b.language !== "json" && b.language !== "text") || before?.language !== "bash") continue;
    check(b, await printed(before, "out"));
    compared++;
  }
  return { run: scripts.length, compared };
}
