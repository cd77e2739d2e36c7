// Sliders without a kernel: every picture is in the page, and the slider shows one of them.
document.addEventListener("DOMContentLoaded", () => {
  for (const explorer of document.querySelectorAll(".explorer")) {
    const slider = explorer.querySelector("input"), text = explorer.querySelector("output");
    const frames = [...explorer.querySelectorAll("figure")];
    const show = () => {
      frames.forEach((frame, place) => { frame.hidden = place !== Number(slider.value); });
      text.textContent = frames[slider.value].dataset.value;
      slider.setAttribute("aria-valuetext", frames[slider.value].dataset.value);
    };
    slider.disabled = false;
    slider.addEventListener("input", show);
    show();
  }
});
