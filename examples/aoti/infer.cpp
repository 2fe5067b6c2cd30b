// SPDX-License-Identifier: Apache-2.0
/*
 * infer.cpp - runs a model that export.py has compiled, as one rank of several, without Python.
 *
 *   shm-launch -n 2 build/aoti/infer FOLDER
 *
 * Every rank is a process of its own. They meet in shmrt::init(); the all-reduces inside the model
 * find each other by themselves.
 */
#include <shmrt_torch.h>

#include <ATen/ATen.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/serialize.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <unordered_map>
#include <vector>

namespace
{

using Tensors = std::unordered_map<std::string, at::Tensor>;
constexpr int REPEAT = 50;

/* What torch.save() made of a dict of tensors. */
Tensors load(const std::string &path)
{
    std::ifstream file(path, std::ios::binary);
    if (!file)
        throw std::runtime_error(path + " can't be read: run export.py for as many ranks");
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    Tensors tensors;
    for (const auto &item : torch::pickle_load(bytes).toGenericDict())
        tensors.emplace(item.key().toStringRef(), item.value().toTensor());
    return tensors;
}

/* Is a library with this in its name loaded? */
bool has_mapped(const std::string &name)
{
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);)
        if (line.find(name, line.rfind('/') + 1) != std::string::npos)
            return true;
    return false;
}

double median_us(torch::inductor::AOTIModelPackageLoader &model, const at::Tensor &x)
{
    std::vector<double> us;
    for (int i = 0; i < REPEAT; i++) {
        const auto start = std::chrono::steady_clock::now();
        model.run({x});
        us.push_back(
            std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
                .count());
    }
    std::nth_element(us.begin(), us.begin() + REPEAT / 2, us.end());
    return us[REPEAT / 2];
}

int infer(const std::string &folder)
{
    shmrt::init();
    torch::inductor::AOTIModelPackageLoader model(folder + "/model.pt2");
    Tensors weights = load(folder + "/rank-" + std::to_string(shmrt::rank()) + ".pt");
    model.load_constants(weights, /*use_inactive=*/false, /*check_full_update=*/true);

    const Tensors example = load(folder + "/example.pt");
    const at::Tensor &x = example.at("x"), &expected = example.at("expected");
    const at::Tensor y = model.run({x}).at(0);
    const double off = (y - expected).abs().max().item<double>();
    std::printf("rank %d of %d: largest difference from the unsharded model %.1e, sum %.17g\n",
                shmrt::rank(), shmrt::size(), off, y.sum(at::kDouble).item<double>());
    const double us = median_us(model, x);
    if (shmrt::rank() == 0)
        std::printf("a pass takes %.0f us; Python is %s\n", us,
                    has_mapped("libpython") || has_mapped("libtorch_python") ? "here" : "not here");
    shmrt::finalize();
    return off < 1e-5 ? 0 : 1;
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    try {
        return infer(argv[1]);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "infer: %s\n", error.what());
        return 1;
    }
}
