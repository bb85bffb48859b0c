/**
 * Networks of a run, with what they carry from frame to frame for every future.
 * In: graphs, a photo, pose windows, noise. Out: frames, float32 [rows, 3, H, W]. Poses and steps have a worker each, so
 * that the next pose is encoded during a step. The metadata decide what is computed; see `onnx_readme.md`.
 */
import type { About } from "./content";
import type { Values } from "./graphMessages";
import { Graphs } from "./graphs";

const ENCODERS = ["anchor", "condition"];

export interface Photo {
  /** Float32 [3, H, W]. */
  frame: Float32Array<ArrayBuffer>;
  pose: Float32Array<ArrayBuffer>;
}

export class PuppetModel {
  private anchor: Values[] = [];
  private memory: Values[] = [];
  private previous: Values[] = [];
  /** Standard deviation of each channel of z given the memory, where z remembers itself; else empty. */
  private deviations = new Float32Array(0);

  private constructor(
    private readonly about: About,
    private readonly names: string[],
    private readonly encoders: Graphs,
    private readonly steps: Graphs,
  ) {}

  static async load(
    about: About,
    wasm: Uint8Array<ArrayBuffer>,
    graphs: Map<string, Uint8Array<ArrayBuffer>>,
    failed: (reason: string) => void,
  ): Promise<PuppetModel> {
    const names = [...graphs.keys()];
    const part = (isPart: (name: string) => boolean) =>
      Graphs.load(wasm, new Map([...graphs].filter(([name]) => isPart(name))), failed);
    const loaded = await Promise.all([
      part((name) => ENCODERS.includes(name)),
      part((name) => !ENCODERS.includes(name)),
    ]);
    return new PuppetModel(about, names, ...loaded);
  }

  /** Time that encoding a pose and a step took last. */
  get milliseconds(): number {
    return (this.encoders.milliseconds.get("condition") ?? 0) + (this.steps.milliseconds.get("step") ?? 0);
  }

  get latentSize(): number {
    return this.about.latent_shape.reduce((a, b) => a * b);
  }

  /** Begin at a photo, with one row; `window` has the pose maps around it. */
  async begin(photo: Photo, window: Float32Array<ArrayBuffer>): Promise<void> {
    const frame = this.images(photo.frame);
    this.anchor = this.names.includes("anchor") ? await this.encoders.run("anchor", [frame, this.images(photo.pose)]) : [];
    this.previous = this.about.reads_previous_frame ? [frame] : [];
    const condition = await this.condition(window);
    const still = this.latents(new Float32Array(this.latentSize));
    this.memory = this.names.includes("begin") ? await this.steps.run("begin", [frame, still, ...condition]) : [];
    if (this.remembersZ && this.deviations.length === 0) await this.measureDeviations(condition, still);
  }

  /** Encode the pose maps around a frame, float32 [3 (2 w + 1), H, W]. */
  condition(window: Float32Array<ArrayBuffer>): Promise<Values[]> {
    return this.encoders.run("condition", [this.images(window, 2 * this.about.pose_window + 1), ...this.anchor]);
  }

  /**
   * Predict the next frame of every row; a new row continues from the first.
   *
   * `noise` has normal draws for every row, [rows, Z, h, w]; zeros give the prior's mean. `offsets` are added to the
   * channels of z, [Z], in standard deviations of z.
   */
  async step(condition: Values[], noise: Float32Array, offsets: Float32Array): Promise<Float32Array> {
    const rows = noise.length / this.latentSize;
    const carried = [...this.memory, ...this.previous].map((values) => withRows(values, rows));
    const shifted = this.latents(this.shifted(noise, offsets));
    const conditions = condition.map((scale) => withRows(scale, rows));
    const [frame, ...memory] = await this.steps.run("step", [...carried, shifted, ...conditions]);
    this.memory = this.remembersZ ? memory.map((values) => this.withoutOffsets(values, offsets)) : memory;
    this.previous = this.about.reads_previous_frame ? [frame] : [];
    return frame.data;
  }

  /** Whether the memory is z itself, with a channel of ones (the stationary prior). */
  private get remembersZ(): boolean {
    return this.about.memories_in_frames.length > 0 && this.about.memory_shape[0] === this.about.latent_shape[0] + 1;
  }

  private get cells(): number {
    return this.about.latent_shape[1] * this.about.latent_shape[2];
  }

  /** Measure how far z decays in a step, from which the deviation of its noise follows: its marginal is N(0, I). */
  private async measureDeviations(condition: Values[], still: Values): Promise<void> {
    const shape = this.about.memory_shape;
    const [channels] = this.about.latent_shape;
    const known = Float32Array.from({ length: shape[0] * this.cells }, (_, k) => {
      const channel = Math.floor(k / this.cells);
      return channel === channels || channel % 2 === 0 ? 1 : 0;
    });
    const inputs = [{ data: known, dims: [1, ...shape] }, ...this.previous, still, ...condition];
    const after = (await this.steps.run("step", inputs))[1].data;
    this.deviations = Float32Array.from({ length: channels }, (_, channel) => {
      const pair = channel - (channel % 2);
      const kept = after[pair * this.cells] ** 2 + after[(pair + 1) * this.cells] ** 2;
      return Math.sqrt(Math.max(1 - kept, 1e-6));
    });
  }

  /** Return noise that moves z by the offsets, at this step alone. */
  private shifted(noise: Float32Array, offsets: Float32Array): Float32Array<ArrayBuffer> {
    return Float32Array.from(noise, (draw, k) => {
      const channel = Math.floor(k / this.cells) % offsets.length;
      return draw + offsets[channel] / (this.deviations[channel] ?? 1);
    });
  }

  /** Return the memory as it would be without the offsets, which would else add up over the steps. */
  private withoutOffsets({ data, dims }: Values, offsets: Float32Array): Values {
    const channels = this.about.memory_shape[0];
    const without = data.map((z, k) => z - (offsets[Math.floor(k / this.cells) % channels] ?? 0));
    return { data: without, dims };
  }

  private images(data: Float32Array<ArrayBuffer>, perRow = 1): Values {
    const [height, width] = this.about.size.split("x").map(Number);
    return { data, dims: [data.length / (3 * perRow * height * width), 3 * perRow, height, width] };
  }

  private latents(data: Float32Array<ArrayBuffer>): Values {
    return { data, dims: [data.length / this.latentSize, ...this.about.latent_shape] };
  }
}

/** Return values with another number of rows: the first ones, or the first one repeated for those that are new. */
function withRows(values: Values, rows: number): Values {
  const [present, ...rest] = values.dims;
  if (present === rows) return values;
  const size = values.data.length / present;
  const data = new Float32Array(rows * size);
  for (let row = 0; row < rows; row++) {
    const from = row < present ? row : 0;
    data.set(values.data.subarray(from * size, (from + 1) * size), row * size);
  }
  return { data, dims: [rows, ...rest] };
}
