/**
 * Graphs in a worker, as promises.
 * In: inputs of a graph, in their order. Out: its outputs. Next: `graphWorker.ts`.
 */
import type { Answer, Request, Values } from "./graphMessages";
import GraphWorker from "./graphWorker?worker&inline";

export class Graphs {
  /** Time that the last call of each graph took. */
  readonly milliseconds = new Map<string, number>();
  private readonly worker = new GraphWorker();
  private readonly waiting = new Map<number, (answer: Answer) => void>();
  private number = 0;

  private constructor(failed: (reason: string) => void) {
    this.worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => {
      this.waiting.get(data.number)?.(data);
      this.waiting.delete(data.number);
    });
    this.worker.addEventListener("error", (event) => failed(event.message ?? "a worker did not start"));
  }

  static async load(wasm: Uint8Array<ArrayBuffer>, graphs: Map<string, Uint8Array<ArrayBuffer>>, failed: (reason: string) => void): Promise<Graphs> {
    const loaded = new Graphs(failed);
    await loaded.ask({ kind: "load", wasm, graphs });
    return loaded;
  }

  async run(graph: string, inputs: Values[]): Promise<Values[]> {
    const { outputs, milliseconds } = await this.ask({ kind: "run", graph, inputs });
    this.milliseconds.set(graph, milliseconds);
    return outputs;
  }

  private ask(request: Request): Promise<Answer> {
    const number = ++this.number;
    return new Promise((resolve, reject) => {
      this.waiting.set(number, (answer) => (answer.error ? reject(new Error(answer.error)) : resolve(answer)));
      this.worker.postMessage({ number, request });
    });
  }
}
