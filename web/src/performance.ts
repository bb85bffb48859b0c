/**
 * Live rollout: the pose of every frame, from a dance or by hand, and the frames that the networks predict for it.
 * In: calls of the controls. Out: a `Shown` for every frame. Next: `puppetModel.ts`, which computes a step.
 * The networks see poses around a frame, so a picture follows its pose by `pose_window` frames.
 */
import type { About } from "./content";
import { between, largestMove, type Dance, type Pose } from "./dance";
import type { Values } from "./graphMessages";
import { toPlanes } from "./images";
import { Noise } from "./noise";
import type { PoseMapDrawing } from "./poseMap";
import type { Photo, PuppetModel } from "./puppetModel";

/** Largest move of a joint in a frame of the way to a dance's first pose, as a share of the image's height. */
const LARGEST_MOVE = 0.06;
const MOST_FRAMES_BETWEEN = 20;
/** Change of a value in [0, 1] below which a picture stands still. */
const STILL = 0.4 / 255;

export interface Shown {
  /** Float32 [rows, 3, H, W]: the prior's mean, then futures. */
  frames: Float32Array;
  rows: number;
  /** Time step since the photo, which is 0. */
  step: number;
  /** Joints of the pose that the pictures show, or of the one that they will show next if it is moved by hand. */
  joints: Float32Array | null;
  milliseconds: number;
}

interface Way {
  from: Float32Array;
  done: number;
  length: number;
}

export class Performance {
  playing = false;
  dance: Dance | null = null;
  private continuesFromPhoto = false;
  /** Frame of the dance that is pushed next. */
  private next = 0;
  private way: Way | null = null;
  private pose: Pose;
  private readonly photoPose: Pose;
  private queue: Pose[] = [];
  private step = 0;
  private restart = true;
  private untouched = true;
  private stillFor = 0;
  private lastFrames: Float32Array | null = null;
  /** The step that is computed; the next pose is encoded meanwhile. */
  private stepping: Promise<void> = Promise.resolve();
  private visit: (() => Promise<void>) | null = null;
  private encoded: { queue: Pose[]; condition: Values[] } | null = null;
  private wakeUp: () => void = () => {};
  private noise = new Noise(1);
  private seed = 1;
  private numRows = 1;
  readonly offsets: Float32Array;

  constructor(
    private readonly model: PuppetModel,
    private readonly about: About,
    private readonly drawing: PoseMapDrawing,
    private readonly photo: Photo,
    photoMap: Uint8Array,
    private readonly firstJoints: Float32Array,
    jointsAreOfPhoto: boolean,
    private readonly fps: number,
    private readonly show: (shown: Shown) => void,
  ) {
    this.photoPose = { map: photoMap, joints: jointsAreOfPhoto ? firstJoints : null };
    this.pose = this.photoPose;
    this.offsets = new Float32Array(about.latent_shape[0]);
  }

  /** Frame of the dance that the picture shows. */
  get position(): number {
    return Math.min((this.dance?.length ?? 1) - 1, Math.max(0, this.next - 1 - this.about.pose_window));
  }

  get rows(): number {
    return this.numRows;
  }

  set rows(rows: number) {
    this.numRows = rows;
    this.wake();
  }

  /** Return to the photo. */
  reset(): void {
    Object.assign(this, { restart: true, untouched: true, playing: false, next: 0, way: null, pose: this.photoPose });
    this.noise = new Noise(this.seed);
    this.wake();
  }

  /** Draw other futures from here on. */
  reseed(): void {
    this.noise = new Noise(++this.seed);
    this.wake();
  }

  /** Choose what is played; the poses of a dance that continues from the photo are shown right after it. */
  choose(dance: Dance, continuesFromPhoto: boolean): void {
    this.dance = dance;
    this.continuesFromPhoto = continuesFromPhoto;
    this.next = 0;
    if (this.playing) this.approach();
  }

  play(): void {
    if (!this.dance) return;
    this.playing = true;
    if (this.untouched) this.restart = true; // the networks then see the first poses of the dance around the photo
    const isFar = !this.untouched || !this.continuesFromPhoto;
    if (isFar && (this.next === 0 || this.position >= this.dance.length - 1)) this.approach();
    this.wake();
  }

  pause(): void {
    this.playing = false;
  }

  /** Show the pose of a frame of the dance. */
  seek(frame: number): void {
    if (!this.dance) return;
    this.next = frame + 1;
    this.hold(this.dance.pose(frame));
  }

  /** Show a pose that was made by hand. */
  holdJoints(joints: Float32Array): void {
    this.next = 0;
    this.hold({ map: this.drawing.draw(joints), joints });
  }

  /** Compute a picture although the pose stands still. */
  wake(): void {
    this.stillFor = 0;
    this.wakeUp();
  }

  /** Show pictures until the page is closed. */
  async run(): Promise<never> {
    for (;;) {
      if (this.visit || this.restart) {
        await this.stepping;
        await (this.visit?.() ?? this.begin());
      }
      if (this.isStill) await this.stepping; // after which it may no longer stand still
      if (this.isStill) await new Promise<void>((resolve) => (this.wakeUp = resolve));
      await this.nextFrameIsDue();
      if (!this.restart && !this.visit) await this.advance();
    }
  }

  /** Predict the first frames of a dance from the photo, as the prior's mean; the page begins again afterwards. */
  rollout(dance: Dance, numFrames: number): Promise<Float32Array[]> {
    return new Promise((resolve, reject) => {
      this.visit = async () => {
        this.visit = null;
        await this.frames(dance, numFrames).then(resolve, reject);
        this.reset();
      };
      this.wake();
    });
  }

  private async frames(dance: Dance, numFrames: number): Promise<Float32Array[]> {
    const around = this.about.pose_window;
    const pose = (t: number) => (t <= 0 ? this.photoPose : dance.pose(t - 1));
    const window = (t: number) => planes(Array.from({ length: 2 * around + 1 }, (_, k) => pose(t - around + k)));
    await this.model.begin(this.photo, window(0));
    const frames: Float32Array[] = [];
    for (let t = 1; t <= numFrames; t++) {
      const condition = await this.model.condition(window(t));
      frames.push(await this.model.step(condition, new Float32Array(this.model.latentSize), new Float32Array(this.offsets.length)));
    }
    return frames;
  }

  private hold(pose: Pose): void {
    Object.assign(this, { playing: false, untouched: false, way: null, pose });
    this.wake();
  }

  /** Go to the first pose of the dance by small moves. */
  private approach(): void {
    this.next = 0;
    const to = this.dance?.pose(0).joints;
    const from = this.pose.joints;
    if (!from || !to) return;
    const length = Math.min(MOST_FRAMES_BETWEEN, Math.floor(largestMove(from, to) / (LARGEST_MOVE * this.drawing.height)));
    this.way = length > 0 ? { from, done: 0, length: length + 1 } : null;
  }

  private async begin(): Promise<void> {
    this.restart = false;
    const around = this.about.pose_window;
    const ahead = Array.from({ length: around }, () => (this.playing ? this.nextPose() : this.photoPose));
    this.queue = [...Array<Pose>(around + 1).fill(this.photoPose), ...ahead];
    this.step = 0;
    this.encoded = null;
    await this.model.begin(this.photo, planes(this.queue));
    const frames = new Float32Array(this.numRows * this.photo.frame.length);
    for (let row = 0; row < this.numRows; row++) frames.set(this.photo.frame, row * this.photo.frame.length);
    this.lastFrames = null;
    this.show({ frames, rows: this.numRows, step: 0, joints: this.firstJoints, milliseconds: 0 });
  }

  /** Encode the next pose, and begin its step as soon as the one before it is done. */
  private async advance(): Promise<void> {
    if (this.playing || this.way) this.untouched = false;
    this.queue = [...this.queue.slice(1), this.nextPose()];
    const queue = this.queue;
    const condition = await this.condition(queue);
    await this.stepping;
    this.stepping = this.predict(queue, condition);
    this.stepping.catch(() => {}); // awaited at the next frame, which reports it
  }

  private async condition(queue: Pose[]): Promise<Values[]> {
    const isKnown = this.encoded?.queue.every((pose, k) => pose === queue[k]);
    if (!isKnown) this.encoded = { queue, condition: await this.model.condition(planes(queue)) };
    return this.encoded!.condition;
  }

  private async predict(queue: Pose[], condition: Values[]): Promise<void> {
    const rows = this.numRows;
    const size = this.model.latentSize;
    const noise = new Float32Array(rows * size);
    noise.set(this.noise.draws((rows - 1) * size), size);
    const frames = await this.model.step(condition, noise, this.offsets.slice());
    if (this.restart) return;
    this.step += 1;
    this.noteChange(frames);
    const joints = this.playing ? queue[this.about.pose_window].joints : (this.pose.joints ?? this.firstJoints);
    this.show({ frames, rows, step: this.step, joints, milliseconds: this.model.milliseconds });
  }

  /** Return the pose to push, and go on by one frame. */
  private nextPose(): Pose {
    if (!this.playing || !this.dance) return this.pose;
    if (this.next - this.about.pose_window >= this.dance.length) this.approach();
    if (this.way) {
      const { from, length } = this.way;
      const joints = between(from, this.dance.pose(0).joints!, ++this.way.done / length);
      if (this.way.done >= length) Object.assign(this, { way: null, next: 1 });
      this.pose = { map: this.drawing.draw(joints), joints };
    } else {
      this.pose = this.dance.pose(this.next++);
    }
    return this.pose;
  }

  private get isStill(): boolean {
    return !this.playing && !this.restart && !this.visit && this.numRows === 1 && this.stillFor > 2 * this.about.pose_window + 1;
  }

  private noteChange(frames: Float32Array): void {
    const before = this.lastFrames;
    const isSame = before?.length === frames.length && frames.every((value, k) => Math.abs(value - before[k]) < STILL);
    this.stillFor = isSame ? this.stillFor + 1 : 0;
    this.lastFrames = frames;
  }

  private lastTime = 0;

  private nextFrameIsDue(): Promise<void> {
    const due = this.lastTime + 1000 / this.fps - 4; // a display has frames of its own, which come at about this time
    return new Promise((resolve) => {
      const wait = (now: number) => {
        if (now < due) return void requestAnimationFrame(wait);
        this.lastTime = now;
        resolve();
      };
      requestAnimationFrame(wait);
    });
  }
}

/** Return pose maps as the channels of one input. */
function planes(poses: Pose[]): Float32Array<ArrayBuffer> {
  const parts = poses.map((pose) => toPlanes(pose.map));
  const all = new Float32Array(parts.reduce((size, part) => size + part.length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}
