/** Messages between the page and a worker that computes graphs: an answer has the number of its request. */

export interface Values {
  data: Float32Array<ArrayBuffer>;
  dims: readonly number[];
}

export type Request =
  | { kind: "load"; wasm: Uint8Array<ArrayBuffer>; graphs: Map<string, Uint8Array<ArrayBuffer>> }
  | { kind: "run"; graph: string; inputs: Values[] };

export interface Answer {
  number: number;
  /** Outputs of a graph; of `load`, nothing. */
  outputs: Values[];
  milliseconds: number;
  error?: string;
}
