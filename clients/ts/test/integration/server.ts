// The real program for tests: one process on embedded parts, with demo robots, in a folder that goes with it.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout, from where this file is compiled to. */
export const checkout = fileURLToPath(new URL("../../../../../", import.meta.url));

/** What the program writes when robots move. */
export interface Ready {
  url: string;
  tenant_id: string;
  token: string;
  warehouse_id: string;
  link_addr: string;
  map_id: string;
}

/** Robots of the demo. Every 3 s it pauses one of them, and lets it go on at once. */
export const ROBOTS = 20;

export class Starling {
  readonly program: string;
  readonly #folder: string;
  #ready: Ready | undefined;
  #process: ChildProcess | undefined;
  #more: ChildProcess | undefined;

  private constructor(program: string, folder: string) {
    this.program = program;
    this.#folder = folder;
  }

  static async start(): Promise<Starling> {
    const program = process.env["STARLING"] ?? join(checkout, "bin/starling");
    if (!existsSync(program)) throw new Error(`${program} is not there: make build, or set STARLING`);
    const folder = await mkdtemp(join(tmpdir(), "starling-client-"));
    await chmod(folder, 0o755); // the database's account must get in; else its data go elsewhere, where nobody here ends and removes it
    const server = new Starling(program, folder);
    try {
      await server.run();
    } catch (e) {
      await server.stop();
      throw e;
    }
    return server;
  }

  get ready(): Ready {
    if (this.#ready === undefined) throw new Error("it is not up");
    return this.#ready;
  }

  /** Starts it; after {@link kill} again, with the same data at the same address. Until robots move. */
  async run(): Promise<void> {
    const file = join(this.#folder, "ready.json");
    await rm(file, { force: true });
    const port = this.#ready === undefined ? "0" : new URL(this.#ready.url).port;
    const ports = ["--port", port, "--link-port", "0", "--postgres-port", "0"];
    const demo = ["--robots", `${ROBOTS}`, "--tasks-per-minute", "40"];
    const child = spawn(this.program, ["dev", ...ports, ...demo, "--data", this.#data, "--ready-file", file], {
      cwd: this.#folder,
      env: { ...process.env, REQUEST_TIMEOUT_MS: "30000" }, // the upload of the demo's map, on a machine that is busy
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = kept(child);
    let output = "";
    const keep = (chunk: Buffer): void => void (output = (output + chunk.toString()).slice(-20_000));
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    for (const end = Date.now() + 120_000; !existsSync(file); await new Promise((resolve) => setTimeout(resolve, 50))) {
      if (!alive(child) || Date.now() > end) throw new Error(`${this.program} did not come up:\n${output}`);
    }
    this.#ready = JSON.parse(await readFile(file, "utf8")) as Ready;
  }

  /** A robot that is not the demo's, `sim-00001`: nobody but the test tells it what to do. Until it is online. */
  async addRobot(): Promise<void> {
    const { url, link_addr, token, warehouse_id } = this.ready;
    const args = ["sim", "--url", url, "--link", link_addr, "--token", token, "--warehouse", warehouse_id, "--robots", "1", "--seed", "7"];
    this.#more = kept(spawn(this.program, args, { cwd: this.#folder, stdio: "ignore" }));
    for (const end = Date.now() + 60_000; ; await new Promise((resolve) => setTimeout(resolve, 100))) {
      const robots = await (await fetch(`${url}/api/v1/robots?limit=500`, { headers: { Authorization: `Bearer ${token}` } })).text();
      if (/"sim-00001".*"connection":"ONLINE".*"vertex":"/.test(robots)) return;
      if (!alive(this.#more) || Date.now() > end) throw new Error(`the robot did not come: ${robots}`);
    }
  }

  /** Ends it as a power cut would. Its database is left running, as the next start finds it. */
  async kill(): Promise<void> {
    await ended(this.#process!, "SIGKILL");
  }

  /** Ends it and its database and takes the folder away. */
  async stop(): Promise<void> {
    if (this.#more !== undefined) await ended(this.#more, "SIGTERM");
    const child = this.#process;
    if (child !== undefined && alive(child)) {
      const late = setTimeout(() => child.kill("SIGKILL"), 30_000);
      await ended(child, "SIGTERM");
      clearTimeout(late);
    }
    await this.#stopDatabase();
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  get #data(): string {
    return join(this.#folder, "data");
  }

  // A database whose program was killed: by its own number, which it writes where its data is, and takes away when it ends.
  async #stopDatabase(): Promise<void> {
    const file = join(this.#data, "postgres/data/postmaster.pid");
    if (!existsSync(file)) return;
    process.kill(Number.parseInt(await readFile(file, "utf8")), "SIGINT");
    for (const end = Date.now() + 10_000; existsSync(file); await new Promise((resolve) => setTimeout(resolve, 20))) {
      if (Date.now() > end) throw new Error(`the database of ${this.#folder} does not end`);
    }
  }
}

// A test that is interrupted does not get to its end: nothing of it may stay behind.
const running = new Set<ChildProcess>();
function kept(child: ChildProcess): ChildProcess {
  running.add(child);
  return child.once("exit", () => running.delete(child));
}
process.on("exit", () => running.forEach((child) => child.kill("SIGTERM")));
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

function alive(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (!alive(child)) return;
  const end = once(child, "exit");
  child.kill(signal);
  await end;
}
