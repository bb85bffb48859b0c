/**
 * Buttons and sliders of the page.
 * In: the document. Out: calls of `Performance`. Next: `main.ts`.
 */
import type { Dance } from "./dance";
import type { JointHandles } from "./joints";
import type { Texts } from "./language";
import type { Performance } from "./performance";
import type { Pictures } from "./pictures";

/** Largest offset of z, in standard deviations. */
const MOST_DEVIATIONS = 3;

export function element<Kind extends HTMLElement>(id: string): Kind {
  return document.getElementById(id) as Kind;
}

export class Controls {
  private readonly play = element<HTMLButtonElement>("play");
  private readonly dances = element<HTMLSelectElement>("dances");
  private readonly position = element<HTMLInputElement>("position");
  private readonly redraw = element<HTMLButtonElement>("redraw");
  private readonly sliders: HTMLInputElement[];

  constructor(
    private readonly performance: Performance,
    private readonly recorded: Dance[],
    channels: number[],
    private readonly texts: Texts,
  ) {
    this.sliders = channels.map((channel, place) => this.slider(channel, place));
    element("factors").hidden = channels.length === 0;
    this.connectDances();
    this.connectFutures();
    element<HTMLButtonElement>("reset").addEventListener("click", () => this.reset());
    element<HTMLButtonElement>("reset").disabled = false;
    texts.whenever(() => this.showState());
  }

  connectView(handles: JointHandles, pictures: Pictures): void {
    const skeleton = document.getElementById("skeleton")!;
    whenChanged("pinned", (isOn) => (handles.feetPinned = isOn));
    whenChanged("show-joints", (isOn) => skeleton.classList.toggle("faint", !isOn));
    whenChanged("smooth", (isOn) => (pictures.smooth = isOn));
  }

  /** Show whether a dance is played, and where it is. */
  showState(): void {
    const { playing, position } = this.performance;
    this.play.classList.toggle("playing", playing);
    document.getElementById("skeleton")!.classList.toggle("playing", playing);
    element("play-text").textContent = this.texts.of(playing ? "pause" : "play");
    if (playing) this.position.value = String(position);
  }

  private connectDances(): void {
    const { recorded, performance } = this;
    recorded.forEach(({ name }, k) => this.dances.add(new Option(name, String(k))));
    for (const control of [this.play, this.dances, this.position]) {
      control.disabled = recorded.length === 0;
      control.hidden = recorded.length === 0;
    }
    this.dances.hidden = recorded.length < 2;
    const choose = () => {
      const number = Number(this.dances.value);
      performance.choose(recorded[number], number === 0);
      this.position.max = String(recorded[number].length - 1);
      this.position.value = "0";
    };
    if (recorded.length) choose();
    this.dances.addEventListener("change", choose);
    this.position.addEventListener("input", () => {
      performance.seek(Number(this.position.value));
      this.showState();
    });
    this.play.addEventListener("click", () => {
      if (performance.playing) performance.pause();
      else performance.play();
      withoutHint();
      this.showState();
    });
  }

  private connectFutures(): void {
    for (const radio of document.querySelectorAll<HTMLInputElement>("[name=futures]")) {
      if (radio.value === "1") radio.checked = true; // browsers restore forms after a reload
      radio.addEventListener("change", () => {
        this.performance.rows = Number(radio.value);
        this.redraw.disabled = radio.value === "1";
      });
    }
    this.redraw.addEventListener("click", () => this.performance.reseed());
  }

  private slider(channel: number, place: number): HTMLInputElement {
    const label = document.createElement("label");
    const name = document.createElement("span");
    name.textContent = `z ${place + 1}`;
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: -MOST_DEVIATIONS, max: MOST_DEVIATIONS, step: 0.05, value: 0 });
    const output = document.createElement("output");
    const show = () => {
      output.textContent = Number(input.value).toFixed(1).replace("-", "\u2212");
      this.performance.offsets[channel] = Number(input.value);
      this.performance.wake();
    };
    input.addEventListener("input", show);
    input.addEventListener("dblclick", () => {
      input.value = "0";
      show();
    });
    show();
    label.append(name, input, output);
    element("sliders").append(label);
    return input;
  }

  private reset(): void {
    for (const slider of this.sliders) {
      slider.value = "0";
      slider.dispatchEvent(new Event("input"));
    }
    this.position.value = "0";
    this.performance.reset();
    this.showState();
  }
}

/** Take away what invites to drag a joint; its place stays, so that nothing moves. */
export function withoutHint(): void {
  element("hint").classList.add("done");
  document.getElementById("skeleton")!.classList.remove("inviting");
}

function whenChanged(id: string, apply: (isOn: boolean) => void): void {
  const box = element<HTMLInputElement>(id);
  box.checked = box.defaultChecked;
  box.addEventListener("change", () => apply(box.checked));
}
