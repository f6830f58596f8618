// Draws a scene of the picture world. Shapes and digits are drawn with OpenCV at four times the
// size and averaged down, in whole numbers: smooth edges, the same pixels on every machine.
// Stateless; thread-safe.
#ifndef PARROT_TRAIN_WORLD_PAINTER_H_
#define PARROT_TRAIN_WORLD_PAINTER_H_

#include <cstdint>
#include <vector>

#include "train/world/counter_rng.h"
#include "train/world/scene.h"

namespace parrot {

// RGB, [picture_px, picture_px, 3]; `rng` varies the colours a little, so that none is one triple.
std::vector<uint8_t> PaintScene(const Scene& scene, int picture_px, CounterRng rng);

}  // namespace parrot

#endif  // PARROT_TRAIN_WORLD_PAINTER_H_
