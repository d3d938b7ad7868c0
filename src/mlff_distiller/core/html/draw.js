// Draws every figure from the JSON beside it, and says on <body> how that went (read by the tests).
(function () {
  "use strict";
  var PRINTED = 670; // pixels between the margins of a sheet of paper
  var TURN = Math.PI / 18, errors = 0, figures = {}, body = document.body;
  function failed() { body.dataset.errors = String(++errors); }
  window.addEventListener("error", failed);
  function all(selector, act) { Array.prototype.forEach.call(document.querySelectorAll(selector), act); }

  var touched = window.matchMedia("(pointer: coarse)").matches;
  var config = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false, // a report never leaves the machine by a slip of the mouse
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg" }
  };

  function shownBy(figure, number) {
    var choice = figure.choices ? figure.choices[number] : { data: figure.data, layout: {} };
    var layout = Object.assign({}, figure.layout, choice.layout);
    // A finger that wants to go on reading must not zoom instead.
    if (touched && !layout.scene) { layout.dragmode = false; }
    return { data: choice.data, layout: layout };
  }
  function draw(plot) {
    if (figures[plot.id]) { return Promise.resolve(); }
    var source = document.querySelector('script[data-figure="' + plot.id + '"]');
    var figure = figures[plot.id] = JSON.parse(source.textContent), shown = shownBy(figure, 0);
    return Plotly.newPlot(plot, shown.data, shown.layout, config).then(function () {
      if (shown.layout.scene) { inSpace(plot); }
    });
  }

  // What is in sight first, the others one by one, so that a long page answers at once.
  var waiting = Array.prototype.slice.call(document.querySelectorAll(".plot")), count = waiting.length;
  function next() {
    var edge = window.innerHeight;
    var seen = waiting.findIndex(function (plot) {
      var box = plot.getBoundingClientRect();
      return box.bottom > 0 && box.top < edge;
    });
    var plot = waiting.splice(Math.max(seen, 0), 1)[0];
    if (!plot) {
      body.dataset.figures = String(count);
      body.dataset.errors = String(errors);
      return;
    }
    Promise.resolve().then(function () { return draw(plot); }).catch(failed).then(function () { setTimeout(next, 0); });
  }

  // A view in three dimensions: keys turn it, and a picture of it stands in for it on paper.
  function inSpace(plot) {
    var timer, picture = document.createElement("img");
    picture.className = "printed";
    picture.alt = plot.getAttribute("aria-label");
    plot.tabIndex = 0;
    plot.addEventListener("keydown", function (event) {
      var eye = turned(plot._fullLayout.scene.camera.eye, event.key);
      if (eye) {
        event.preventDefault();
        Plotly.relayout(plot, { "scene.camera.eye": eye });
      }
    });
    function take() {
      Plotly.toImage(plot, { format: "png", width: PRINTED, height: plot.clientHeight, scale: 2 }).then(function (url) {
        picture.src = url;
        plot.parentNode.appendChild(picture);
        plot.classList.add("pictured");
      }).catch(failed);
    }
    plot.on("plotly_afterplot", function () { clearTimeout(timer); timer = setTimeout(take, 300); });
    plot.on("plotly_relayout", function () { clearTimeout(timer); timer = setTimeout(take, 300); });
    take();
  }
  function turned(eye, key) {
    var across = Math.hypot(eye.x, eye.y), size = Math.hypot(across, eye.z);
    var around = Math.atan2(eye.y, eye.x), above = Math.atan2(eye.z, across);
    if (key === "ArrowLeft") { around -= TURN; }
    else if (key === "ArrowRight") { around += TURN; }
    else if (key === "ArrowUp") { above = Math.min(above + TURN, 1.5); }
    else if (key === "ArrowDown") { above = Math.max(above - TURN, -1.5); }
    else { return null; }
    return {
      x: size * Math.cos(above) * Math.cos(around), y: size * Math.cos(above) * Math.sin(around),
      z: size * Math.sin(above)
    };
  }

  // Lists of which a figure shows one entry, and links that choose one.
  function choose(list) {
    var name = list.dataset.choose, plot = document.getElementById(name);
    draw(plot).then(function () {
      var shown = shownBy(figures[name], list.selectedIndex);
      return Plotly.react(plot, shown.data, shown.layout, config);
    }).catch(failed);
    all('[data-chosen="' + name + '"]', function (text, number) { text.hidden = number !== list.selectedIndex; });
  }
  all("select[data-choose]", function (list) { list.addEventListener("change", function () { choose(list); }); });
  all("a[data-choice]", function (link) {
    link.addEventListener("click", function () {
      var list = document.getElementById(link.hash.slice(1));
      list.selectedIndex = Number(link.dataset.choice);
      choose(list);
    });
  });

  // What is wider than the page is scrolled with keys too.
  all(".scroll", function (box) {
    new ResizeObserver(function () {
      if (box.scrollWidth > box.clientWidth + 1) { box.tabIndex = 0; } else { box.removeAttribute("tabindex"); }
    }).observe(box);
  });

  // The contents show where the reader is.
  var links = {};
  all("nav a", function (link) { links[link.hash.slice(1)] = link; });
  var inSight = new IntersectionObserver(function (entries) {
    entries.forEach(function (entry) {
      var link = links[entry.target.id];
      if (!link || !entry.isIntersecting) { return; }
      all('nav a[aria-current]', function (other) { other.removeAttribute("aria-current"); });
      link.setAttribute("aria-current", "location");
      var bar = link.parentNode;
      if (bar.scrollWidth > bar.clientWidth) { bar.scrollLeft = link.offsetLeft - bar.clientWidth / 3; }
    });
  }, { rootMargin: "-20% 0px -75% 0px" });
  all("main > section", function (section) { inSight.observe(section); });

  // On paper: every figure as wide as the sheet, nothing folded away.
  var folded = [];
  window.addEventListener("beforeprint", function () {
    waiting.splice(0).forEach(function (plot) { draw(plot); });
    folded = Array.prototype.slice.call(document.querySelectorAll("details:not([open])"));
    folded.forEach(function (part) { part.open = true; });
    all(".plot", function (plot) { Plotly.relayout(plot, { width: PRINTED, autosize: false }); });
  });
  window.addEventListener("afterprint", function () {
    folded.forEach(function (part) { part.open = false; });
    all(".plot", function (plot) { Plotly.relayout(plot, { width: null, autosize: true }); });
  });
  next();
})();
