/**
 * Start of the page: content, pictures, joints, controls, networks.
 * In: the document, filled by `posecast export --format page`. Next: `performance.ts`, which drives the puppet.
 */
import { readContent, takeBlock, unpack, unpackFloats, type Content } from "./content";
import { Controls, element, withoutHint } from "./controls";
import { Dance } from "./dance";
import { toPlanes } from "./images";
import { JointHandles } from "./joints";
import { usualLengths } from "./kinematics";
import { Texts } from "./language";
import { Performance, type Shown } from "./performance";
import { Pictures } from "./pictures";
import { PoseMapDrawing } from "./poseMap";
import { PuppetModel } from "./puppetModel";
import { Skeleton } from "./skeleton";
import { Speed } from "./speed";
import { addTestHook } from "./testHook";

const POSES_TO_MEASURE = 400;

const texts = new Texts();
texts.whenever(() => texts.fill());
element("language").addEventListener("click", () => texts.change());
texts.whenever(() => {
  element("language").textContent = texts.of("language");
  element("language").setAttribute("aria-label", texts.of("languageLabel"));
});

const content = readContent();
if (content) start(content).catch((error: unknown) => fail(String(error)));
else say(() => texts.of("empty"));

async function start(content: Content): Promise<void> {
  const { about, name } = content;
  const [height, width] = about.size.split("x").map(Number);
  const size = { height, width };
  texts.whenever(() => (document.title = `${name} – posecast ${texts.of("title")}`));
  element("name").textContent = name;
  element("version").textContent = content.posecast;
  const [photo, photoMap, joints] = [await unpack(content.photo), await unpack(content.photo_map), await unpackFloats(content.joints)];
  const skeleton = new Skeleton(about.skeleton);
  const drawing = new PoseMapDrawing(skeleton, height, width, about);
  const dances = await Promise.all(content.dances.map((dance) => Dance.read(dance, drawing)));
  const pictures = new Pictures(element("pictures"), size, texts, name);
  pictures.show(toPlanes(photo), 1);

  const model = await loadModel(content);
  const speed = new Speed(element("speed"), texts);
  let last: Shown | null = null;
  const performance = new Performance(
    model, about, drawing, { frame: toPlanes(photo), pose: toPlanes(photoMap) }, photoMap, joints, content.joints_are_of_photo, content.fps,
    (shown) => {
      last = shown;
      pictures.show(shown.frames, shown.rows);
      if (!handles.isDragging) handles.show(shown.joints);
      if (shown.step > 0) speed.note(shown.milliseconds);
      controls.showState();
    },
  );
  const lengths = usualLengths(skeleton, [joints, ...dances.flatMap((dance) => dance.sample(POSES_TO_MEASURE))]);
  const svg = document.getElementById("skeleton") as unknown as SVGSVGElement;
  const handles = new JointHandles(svg, skeleton, lengths, size, texts, (moved) => {
    withoutHint();
    performance.holdJoints(moved);
  });
  const controls = new Controls(performance, dances, content.channels, texts);
  controls.connectView(handles, pictures);
  performance.run().catch((error: unknown) => fail(String(error)));
  addTestHook(performance, dances, drawing, speed, () => last);
  element("status").hidden = true;
  element("hint").hidden = false;
  document.querySelector(".stage")!.setAttribute("aria-busy", "false");
}

async function loadModel(content: Content): Promise<PuppetModel> {
  const wasm = await takeBlock("wasm");
  const graphs = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const name of content.graphs) graphs.set(name, await takeBlock(`graph-${name}`));
  return PuppetModel.load(content.about, wasm, graphs, fail);
}

function fail(reason: string): void {
  say(() => `${texts.of("failed")} ${reason}`);
}

function say(sentence: () => string): void {
  const status = element("status");
  delete status.dataset.text;
  status.hidden = false;
  status.classList.add("problem");
  texts.whenever(() => (status.textContent = sentence()));
}
