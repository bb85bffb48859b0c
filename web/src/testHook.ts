/**
 * `window.posecast`: what the browser tests ask of a page. Arrays are base64 of their bytes.
 * Next: `tests/export/test_page_in_browser.py`.
 */
import { toBase64 } from "./content";
import type { Dance } from "./dance";
import type { Performance, Shown } from "./performance";
import type { PoseMapDrawing } from "./poseMap";
import type { Speed } from "./speed";

export interface TestHook {
  /** Milliseconds from the start of the navigation until the first predicted picture could be computed. */
  readonly ready: number;
  readonly framesPerSecond: number;
  readonly milliseconds: number;
  /** Time step of the picture that is shown; 0 is the photo, -1 before the networks are loaded. */
  readonly step: number;
  /** Pictures that are shown, the mean first, float32 [rows, 3, H, W]. */
  pictures(): string;
  joints(): number[] | null;
  /** First frames of the mean rollout of a dance from the photo, float32 [T, 3, H, W]. */
  frames(dance: number, numFrames: number): Promise<string>;
  /** Pose maps of poses [N, J, 2], null for missing values: uint8 [N, H, W, 3]. */
  poseMaps(poses: (number | null)[][]): string;
}

declare global {
  interface Window {
    posecast?: TestHook;
  }
}

export function addTestHook(performance: Performance, dances: Dance[], drawing: PoseMapDrawing, speed: Speed, last: () => Shown | null): void {
  const ready = window.performance.now();
  window.posecast = {
    ready,
    get framesPerSecond() {
      return speed.framesPerSecond;
    },
    get milliseconds() {
      return speed.milliseconds;
    },
    get step() {
      return last()?.step ?? -1;
    },
    pictures: () => toBase64(bytesOf(last()!.frames)),
    joints: () => {
      const joints = last()?.joints;
      return joints ? [...joints] : null;
    },
    frames: async (dance, numFrames) => toBase64(concatenated((await performance.rollout(dances[dance], numFrames)).map(bytesOf))),
    poseMaps: (poses) => toBase64(concatenated(poses.map((pose) => drawing.draw(Float32Array.from(pose, (value) => value ?? NaN))))),
  };
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function concatenated(parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}
