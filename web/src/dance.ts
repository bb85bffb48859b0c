/**
 * Poses, and recorded dances as their sequences.
 * In: content of the page. Out: a `Pose` for every frame. Next: `performance.ts`, which plays them.
 */
import { unpack, unpackFloats, type DanceContent } from "./content";
import type { PoseMapDrawing } from "./poseMap";

/** A pose map, and its joints where they are known. */
export interface Pose {
  map: Uint8Array;
  joints: Float32Array | null;
}

export class Dance {
  private constructor(
    readonly name: string,
    readonly length: number,
    private readonly drawing: PoseMapDrawing,
    private readonly joints: Float32Array | null,
    private readonly maps: Uint8Array | null,
  ) {}

  static async read(content: DanceContent, drawing: PoseMapDrawing): Promise<Dance> {
    const joints = content.keypoints === null ? null : await unpackFloats(content.keypoints);
    const maps = content.maps === null ? null : await unpack(content.maps);
    return new Dance(content.name, content.frames, drawing, joints, maps);
  }

  /** Return the pose of a frame; before the first and after the last frame, that frame's. */
  pose(frame: number): Pose {
    const row = Math.min(this.length - 1, Math.max(0, frame));
    const joints = this.jointsOf(row);
    if (joints) return { map: this.drawing.draw(joints), joints };
    const size = this.maps!.length / this.length;
    return { map: this.maps!.subarray(row * size, (row + 1) * size), joints: null };
  }

  /** Return the joints of some frames, evenly spread; none where they are not known. */
  sample(most: number): Float32Array[] {
    if (!this.joints) return [];
    const every = Math.max(1, Math.floor(this.length / most));
    return Array.from({ length: Math.floor(this.length / every) }, (_, k) => this.jointsOf(k * every)!);
  }

  private jointsOf(row: number): Float32Array | null {
    if (!this.joints) return null;
    const size = this.joints.length / this.length;
    return this.joints.slice(row * size, (row + 1) * size);
  }
}

/** Return joints on the way from one pose to another, as a share of it; a joint missing in either is the later one's. */
export function between(from: Float32Array, to: Float32Array, share: number): Float32Array {
  return to.map((value, k) => (Number.isFinite(from[k]) && Number.isFinite(value) ? from[k] + share * (value - from[k]) : value));
}

/** Return the largest distance between joints of two poses, in pixels. */
export function largestMove(from: Float32Array, to: Float32Array): number {
  return to.reduce((most, value, k) => {
    const move = Math.abs(value - from[k]);
    return Number.isFinite(move) ? Math.max(most, move) : most;
  }, 0);
}
