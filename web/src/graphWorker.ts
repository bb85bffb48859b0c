/**
 * Worker that computes graphs with ONNX Runtime, on one thread: more need headers, which a file on disk has not.
 * In: requests of `graphs.ts`. Out: answers, in their order. It keeps nothing but the graphs.
 */
import { env, InferenceSession, Tensor } from "onnxruntime-web/wasm";
import type { Answer, Request, Values } from "./graphMessages";

const sessions = new Map<string, InferenceSession>();
let last: Promise<void> = Promise.resolve();

self.addEventListener("message", ({ data }: MessageEvent<{ number: number; request: Request }>) => {
  last = last.then(() => reply(data.number, data.request));
});

async function reply(number: number, request: Request): Promise<void> {
  const start = performance.now();
  const answer: Answer = { number, outputs: [], milliseconds: 0 };
  try {
    if (request.kind === "load") await load(request.wasm, request.graphs);
    else answer.outputs = await run(request.graph, request.inputs);
  } catch (error) {
    answer.error = String(error);
  }
  answer.milliseconds = performance.now() - start;
  self.postMessage(answer, { transfer: answer.outputs.map((values) => values.data.buffer) });
}

async function load(wasm: Uint8Array<ArrayBuffer>, graphs: Map<string, Uint8Array<ArrayBuffer>>): Promise<void> {
  Object.assign(env.wasm, { wasmBinary: wasm, numThreads: 1, proxy: false });
  env.logLevel = "error";
  for (const [name, graph] of graphs) {
    sessions.set(name, await InferenceSession.create(graph, { executionProviders: ["wasm"], graphOptimizationLevel: "all" }));
  }
}

async function run(graph: string, inputs: Values[]): Promise<Values[]> {
  const session = sessions.get(graph)!;
  const tensors = inputs.map(({ data, dims }) => new Tensor("float32", data, dims));
  const outputs = await session.run(Object.fromEntries(session.inputNames.map((name, k) => [name, tensors[k]])));
  return session.outputNames.map((name) => {
    const { data, dims } = outputs[name];
    return { data: new Float32Array(data as Float32Array), dims };
  });
}
