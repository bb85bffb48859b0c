/**
 * Content of a filled page: what `posecast export --format page` wrote into its data blocks.
 * In: the blocks of the document. Out: `Content`, and bytes. Next: `main.ts`, which starts the page.
 */
import type { Joint } from "./skeleton";

/** Metadata of the graphs; see `checked_graphs.py`. */
export interface About {
  size: string;
  recipe: string;
  pose_window: number;
  latent_shape: [number, number, number];
  memory_shape: [number, number, number];
  reads_previous_frame: boolean;
  memories_in_frames: number[];
  skeleton: Joint[];
  joint_radius: number;
  limb_radius: number;
  limb_opacity: number;
}

/** A recorded dance: keypoints, or pose maps where the data set has no keypoints; base64 of gzip. */
export interface DanceContent {
  name: string;
  frames: number;
  /** Float32 [T, J, 2] in pixels, NaN for missing joints. */
  keypoints: string | null;
  /** Uint8 [T, H, W, 3]. */
  maps: string | null;
}

export interface Content {
  posecast: string;
  name: string;
  about: About;
  fps: number;
  /** Uint8 [H, W, 3], base64 of gzip; the pose map likewise. */
  photo: string;
  photo_map: string;
  /** Float32 [J, 2] in pixels: joints of the photo, or of a standing person where they are not known. */
  joints: string;
  /** Whether the joints are those of the photo. */
  joints_are_of_photo: boolean;
  dances: DanceContent[];
  /** Channels of z with a slider, the one that changes pictures most first. */
  channels: number[];
  graphs: string[];
}

/** Return the content of the page; null if it was not filled. */
export function readContent(): Content | null {
  const text = document.getElementById("content")?.textContent?.trim();
  return text ? (JSON.parse(text) as Content) : null;
}

/** Return the bytes of a data block that holds base64 of gzip, and empty the block. */
export async function takeBlock(id: string): Promise<Uint8Array<ArrayBuffer>> {
  const block = document.getElementById(id);
  if (!block) throw new Error(`The page has no block ${id}.`);
  const text = block.textContent ?? "";
  block.textContent = "";
  return unpack(text);
}

/** Decode base64 of gzip. */
export async function unpack(base64: string): Promise<Uint8Array<ArrayBuffer>> {
  const packed = new Blob([fromBase64(base64)]);
  const stream = packed.stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Decode base64 of gzip of float32 values. */
export async function unpackFloats(base64: string): Promise<Float32Array> {
  return new Float32Array((await unpack(base64)).buffer);
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = binary.charCodeAt(k);
  return bytes;
}

/** Encode bytes as base64. */
export function toBase64(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let k = 0; k < bytes.length; k += 0x8000) parts.push(String.fromCharCode(...bytes.subarray(k, k + 0x8000)));
  return btoa(parts.join(""));
}
