// The real program for the browser tests: one process on embedded parts with a real PostgreSQL, in a folder that goes with it.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Api } from "starling-client";

/** What the program writes once it is up. */
export interface Ready {
  url: string;
  link_addr: string;
  tenant_id: string;
  token: string;
  warehouse_id: string;
  map_id: string;
}

export interface Options {
  /** Robots and tasks of the demo. The demo also pauses a robot now and then: where a test counts on its robots, it brings its own. */
  robots: number;
  tasksPerMinute: number;
}

/** How virtual robots drive: quickly, so that nobody waits for them. */
const scenario = { motion: { speed_mps: 2, accel_mps2: 2, quarter_turn_s: 0.3 } };

export class Starling {
  readonly #program: string;
  readonly #folder: string;
  readonly #options: Options;
  #ready: Ready | undefined;
  #process: ChildProcess | undefined;
  #simulator: ChildProcess | undefined;

  private constructor(program: string, folder: string, options: Options) {
    this.#program = program;
    this.#folder = folder;
    this.#options = options;
  }

  static async start(options: Options = { robots: 0, tasksPerMinute: 0 }): Promise<Starling> {
    const program = process.env["STARLING"] ?? fileURLToPath(new URL("../../../bin/starling", import.meta.url));
    if (!existsSync(program)) throw new Error(`${program} is not there: make build, or set STARLING`);
    const folder = await mkdtemp(join(tmpdir(), "starling-page-"));
    await chmod(folder, 0o755); // the database's account must get in; else its data go elsewhere, where nobody here ends and removes it
    const server = new Starling(program, folder, options);
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

  get url(): string {
    return this.ready.url;
  }

  /** Calls as the administrator of the demo. */
  get api(): Api {
    return new Api({ url: this.url, token: () => this.ready.token });
  }

  /** Starts it; after {@link kill} again, with the same data at the same addresses. */
  async run(): Promise<void> {
    const file = join(this.#folder, "ready.json");
    await rm(file, { force: true });
    const port = (address: string | undefined): string => address?.split(":").at(-1) ?? "0";
    const ports = ["--port", port(this.#ready?.url), "--link-port", port(this.#ready?.link_addr)];
    const demo = ["--robots", `${this.#options.robots}`, "--tasks-per-minute", `${this.#options.tasksPerMinute}`];
    const child = this.#spawn(["dev", ...ports, ...demo, "--data", this.#data, "--ready-file", file]);
    this.#process = child.process;
    await until(`${this.#program} dev`, () => {
      if (!alive(child.process)) throw new Error(`the program ended:\n${child.output()}`);
      return existsSync(file);
    });
    this.#ready = JSON.parse(await readFile(file, "utf8")) as Ready;
  }

  /** Brings virtual robots to a floor, the demo's say, and waits until all are there. They outlive a killed server, as real ones do. */
  async simulate(robots: number, o: { warehouse?: string; statusEvery?: string; minutes?: number } = {}): Promise<void> {
    const { url, link_addr, token } = this.ready;
    const warehouse_id = o.warehouse ?? this.ready.warehouse_id;
    const file = join(this.#folder, "scenario.json");
    await writeFile(file, JSON.stringify(scenario));
    const child = this.#spawn(["sim", "--url", url, "--link", link_addr, "--token", token, "--warehouse", warehouse_id, "--robots", `${robots}`, "--scenario", file, "--status-every", o.statusEvery ?? "1s"]);
    this.#simulator = child.process;
    await until(`${robots} robots online`, async () => {
      if (!alive(child.process)) throw new Error(`the simulator ended:\n${child.output()}`);
      const { robots: r } = await this.api.get("/api/v1/overview", { query: { warehouse_id } });
      // Who reports seldom may count as stale between two words.
      return (r.connection["ONLINE"] ?? 0) + (o.statusEvery === undefined ? 0 : (r.connection["STALE"] ?? 0)) === robots;
    }, o.minutes);
  }

  /** Ends it as a power cut would. Its database stays, as the next start finds it. */
  async kill(): Promise<void> {
    await ended(this.#process!, "SIGKILL");
  }

  /** Ends all of it and takes the folder away. */
  async stop(): Promise<void> {
    if (this.#simulator) await ended(this.#simulator, "SIGTERM");
    if (this.#process) await ended(this.#process, "SIGTERM");
    await this.#stopDatabase();
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /** A token of the development issuer. */
  async token(role: string, of: { expiresInS?: number; tenant?: string } = {}): Promise<string> {
    const whose = of.tenant === undefined ? (role === "platform_admin" ? {} : { tenant_slug: "demo" }) : { tenant: of.tenant };
    const answer = await fetch(`${this.url}/dev/token`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ role, ...whose, ...(of.expiresInS === undefined ? {} : { expires_in_s: of.expiresInS }) }),
    });
    if (!answer.ok) throw new Error(`no token: ${answer.status} ${await answer.text()}`);
    return ((await answer.json()) as { access_token: string }).access_token;
  }

  get #data(): string {
    return join(this.#folder, "data");
  }

  #spawn(args: string[]): { process: ChildProcess; output: () => string } {
    // A machine that does much else at the same time may take long for the first map.
    const env = { ...process.env, REQUEST_TIMEOUT_MS: "60000" };
    const child = spawn(this.#program, args, { cwd: this.#folder, env, stdio: ["ignore", "pipe", "pipe"] });
    running.add(child.once("exit", () => running.delete(child)));
    let output = "";
    const keep = (chunk: Buffer): void => void (output = (output + chunk.toString()).slice(-20_000));
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    return { process: child, output: () => output };
  }

  // A database whose program was killed: by its own number, which it writes where its data is, and takes away when it ends.
  async #stopDatabase(): Promise<void> {
    const file = join(this.#data, "postgres/data/postmaster.pid");
    if (!existsSync(file)) return;
    process.kill(Number.parseInt(await readFile(file, "utf8")), "SIGINT");
    await until("the database ends", () => !existsSync(file));
  }
}

/** Waits until `f` holds. */
async function until(what: string, f: () => boolean | Promise<boolean>, minutes = 3): Promise<void> {
  for (const end = Date.now() + minutes * 60_000; !(await f()); await new Promise((resolve) => setTimeout(resolve, 100))) {
    if (Date.now() > end) throw new Error(`in vain: ${what}`);
  }
}

// A run that is interrupted does not get to its end: nothing of it may stay behind.
const running = new Set<ChildProcess>();
process.on("exit", () => running.forEach((child) => child.kill("SIGTERM")));

function alive(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (!alive(child)) return;
  const end = once(child, "exit");
  const late = setTimeout(() => child.kill("SIGKILL"), 30_000);
  child.kill(signal);
  await end;
  clearTimeout(late);
}
