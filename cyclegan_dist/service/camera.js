// The camera, with functions of page.js for what becomes of its pictures.
const video = document.querySelector("video");

async function openCamera() {
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
    byId("shoot").showModal();
    await video.play();
  } catch (error) {
    report("", `The camera cannot be used: ${error.message}`);
  }
}

function shoot() {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => take([new File([blob], "camera.jpg", { type: blob.type })]), "image/jpeg", 0.95);
  byId("shoot").close();
}

byId("take").addEventListener("click", shoot);
byId("close").addEventListener("click", () => byId("shoot").close());
byId("shoot").addEventListener("close", () => {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
});
byId("camera").addEventListener("click", openCamera);
// Browsers give the camera to secure pages only; elsewhere a phone's own camera program takes the picture.
if (navigator.mediaDevices) byId("camera").hidden = false;
else if (matchMedia("(pointer: coarse)").matches) byId("capture").hidden = false;
