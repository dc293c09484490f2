"use strict";
(() => {
  const { structures } = JSON.parse(document.getElementById("panels").textContent);
  const SIZE = 0.55; // drawn radius over covalent radius: atoms stay apart, bonds can be guessed
  const PIECES = 10; // of a cell edge, so that atoms hide only what is behind them
  const SHORT = 9; // Å; neighbouring cells help where a cell is thinner than this
  const CROWD = 4000; // atoms drawn at most
  const MOVES = 0.4; // Å; atoms that go farther than this have a track

  const add = (a, b, factor = 1) => a.map((value, axis) => value + factor * b[axis]);
  const length = (a) => Math.hypot(...a);
  const times = (matrix, v) => matrix.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);
  const product = (a, b) => a.map((row) => [0, 1, 2].map((k) => row[0] * b[0][k] + row[1] * b[1][k] + row[2] * b[2][k]));
  const aboutX = (t) => [[1, 0, 0], [0, Math.cos(t), -Math.sin(t)], [0, Math.sin(t), Math.cos(t)]];
  const aboutY = (t) => [[Math.cos(t), 0, Math.sin(t)], [0, 1, 0], [-Math.sin(t), 0, Math.cos(t)]];
  // The z axis of the structure points up, its y axis away from the reader; a little from the side.
  const START = product(product(aboutX(0.16), aboutY(-0.35)), [[1, 0, 0], [0, 0, 1], [0, -1, 0]]);

  const corners = (cell) => [0, 1, 2, 3, 4, 5, 6, 7].map((bits) =>
    cell.reduce((sum, vector, axis) => ((bits >> axis) & 1 ? add(sum, vector) : sum), [0, 0, 0]));

  const edgesOf = (cell) => {
    if (!cell.some((vector) => length(vector) > 0)) return [];
    const places = corners(cell);
    const found = [];
    for (let bits = 0; bits < 8; bits++) {
      for (let axis = 0; axis < 3; axis++) {
        if (((bits >> axis) & 1) || !length(cell[axis])) continue;
        for (let piece = 0; piece < PIECES; piece++) {
          found.push([add(places[bits], cell[axis], piece / PIECES), add(places[bits], cell[axis], (piece + 1) / PIECES)]);
        }
      }
    }
    return found;
  };

  const tracksOf = ({ images }) => {
    const far = images[0].map((start, atom) => Math.max(...images.map((image) => length(add(image[atom], start, -1)))));
    const limit = Math.max(MOVES, 0.5 * Math.max(...far));
    const moving = far.flatMap((distance, atom) => (distance > limit ? [atom] : []));
    if (moving.length > Math.max(1, far.length / 5)) return []; // a sliding layer: lines would hide it
    return moving.flatMap((atom) => images.slice(1).map((image, k) => [images[k][atom], image[atom]]));
  };

  const shiftsOf = ({ cell, pbc, images }) => {
    let shifts = [[0, 0, 0]];
    cell.forEach((vector, axis) => {
      if (!pbc[axis] || length(vector) > SHORT) return;
      shifts = shifts.flatMap((shift) => [shift, add(shift, vector), add(shift, vector, -1)]);
    });
    return shifts.length * images[0].length > CROWD ? shifts.slice(0, 1) : shifts;
  };

  const sphere = (pen, x, y, radius, color, label, haze, copied) => {
    pen.globalAlpha = copied ? 0.22 : 1; // neighbouring cells must not hide this one
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.fillStyle = color;
    pen.fill();
    const shade = pen.createRadialGradient(x - 0.35 * radius, y - 0.4 * radius, 0.05 * radius, x, y, radius);
    shade.addColorStop(0, "rgba(255,255,255,0.75)");
    shade.addColorStop(0.35, "rgba(255,255,255,0.1)");
    shade.addColorStop(1, "rgba(0,0,0,0.38)");
    pen.fillStyle = shade;
    pen.fill();
    pen.fillStyle = `rgba(255,255,255,${haze})`;
    pen.fill();
    pen.lineWidth = 0.75;
    pen.strokeStyle = `rgba(0,0,0,${0.6 * (1 - haze)})`;
    pen.stroke();
    pen.globalAlpha = 1;
    if (radius < 8 || copied) return;
    pen.fillStyle = `rgba(0,0,0,${1 - haze})`;
    pen.font = `600 ${Math.round(0.85 * radius)}px system-ui, sans-serif`;
    pen.fillText(label, x, y);
  };

  const show = (node) => {
    const shape = structures[Number(node.dataset.structure)];
    const canvas = node.querySelector("canvas");
    const slider = node.querySelector("input[type=range]");
    const around = node.querySelector("input[type=checkbox]");
    const pen = canvas.getContext("2d");
    const [edges, tracks, shifts] = [edgesOf(shape.cell), tracksOf(shape), shiftsOf(shape)];
    if (shifts.length === 1) around.parentElement.hidden = true;
    const bounds = [...shape.images.flat(), ...edges.flat()];
    const center = [0, 1, 2].map((axis) => {
      const values = bounds.map((place) => place[axis]);
      return (values.reduce((a, b) => Math.min(a, b)) + values.reduce((a, b) => Math.max(a, b))) / 2;
    });
    const reach = 1 + bounds.reduce((most, place) => Math.max(most, length(add(place, center, -1))), 0);
    // The first view fills the canvas.
    const extent = [0, 1].map((axis) => 1 + bounds.reduce((most, place) => Math.max(most, Math.abs(times(START, add(place, center, -1))[axis])), 0));
    let [turn, zoom] = [START, 1];

    const draw = () => {
      const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, window.devicePixelRatio || 1];
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, width, height);
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      pen.lineCap = "round";
      const camera = 4 * reach;
      const unit = 0.46 * zoom * camera * Math.min(width / extent[0], height / extent[1]);
      const project = (place) => {
        const [x, y, z] = times(turn, add(place, center, -1));
        const scale = unit / (camera - z);
        return { x: width / 2 + scale * x, y: height / 2 - scale * y, z, scale };
      };
      const haze = (z) => Math.min(0.6, Math.max(0, 0.25 - (0.4 * z) / reach));
      const line = (pair, color, thick) => {
        const [a, b] = pair.map(project);
        return { z: (a.z + b.z) / 2, paint: () => {
          pen.beginPath();
          pen.moveTo(a.x, a.y);
          pen.lineTo(b.x, b.y);
          pen.lineWidth = thick;
          pen.strokeStyle = color;
          pen.stroke();
        } };
      };
      const things = [...edges.map((pair) => line(pair, "#8a8a8a", 1)), ...tracks.map((pair) => line(pair, "#111", 2.5))];
      const image = shape.images[Number(slider.value)];
      let atoms = 0;
      (around.checked ? shifts : shifts.slice(0, 1)).forEach((shift, copy) => {
        image.forEach((place, atom) => {
          const kind = shape.kinds[shape.elements[atom]];
          const at = project(add(place, shift));
          atoms += 1;
          things.push({ z: at.z, paint: () =>
            sphere(pen, at.x, at.y, SIZE * kind.radius * at.scale, kind.color, kind.symbol, haze(at.z), copy > 0) });
        });
      });
      for (const thing of things.sort((a, b) => a.z - b.z)) thing.paint();
      canvas.dataset.atoms = String(atoms);
      const said = shape.labels[Number(slider.value)];
      node.querySelector("output").textContent = said;
      slider.setAttribute("aria-valuetext", said);
    };

    let waiting = false;
    const later = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; draw(); });
    };
    const rotate = (right, down) => { turn = product(product(aboutX(down), aboutY(right)), turn); later(); };
    const scale = (factor) => { zoom = Math.min(8, Math.max(0.5, zoom * factor)); later(); };
    const keys = {
      ArrowLeft: () => rotate(-0.1, 0), ArrowRight: () => rotate(0.1, 0), ArrowUp: () => rotate(0, -0.1),
      ArrowDown: () => rotate(0, 0.1), "+": () => scale(1.15), "-": () => scale(1 / 1.15),
    };
    canvas.addEventListener("keydown", (event) => {
      if (!keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) rotate(0.01 * event.movementX, 0.01 * event.movementY);
    });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return; // a page that scrolls must not stop at a structure
      event.preventDefault();
      scale(event.deltaY < 0 ? 1.15 : 1 / 1.15);
    }, { passive: false });
    canvas.addEventListener("dblclick", () => { [turn, zoom] = [START, 1]; later(); });
    slider.addEventListener("input", later);
    around.addEventListener("change", later);
    new ResizeObserver(later).observe(canvas);
    draw();
  };

  for (const node of document.querySelectorAll(".viewer")) show(node);
})();
