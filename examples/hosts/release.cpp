// Releases samples by a privatizer's graph, in C++17 with ONNX Runtime and OpenSSL.
//
//     g++ -std=c++17 release.cpp -lonnxruntime -lcrypto -o release
//     ./release privatizer.onnx key samples released
//
// `key` holds the device's 32 secret bytes, `samples` the samples one behind another, as the graph takes them (uint8; of
// faces 64 x 64 x 3 each, already aligned). `released` gets the releases in the same form; of a sample that is kept back
// there is nothing in it. docs/hosts.md says what each part is for.

#include <onnxruntime_cxx_api.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kBatch = 16;
constexpr int kDraws = 8;  // how often other random numbers are tried for a sample that is kept back
constexpr double kPi = 3.14159265358979323846;

Bytes Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be read");
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

Bytes Hmac(const Bytes& key, const Bytes& message) {
  Bytes digest(EVP_MAX_MD_SIZE);
  unsigned int length = 0;
  if (!HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), message.data(), message.size(), digest.data(),
            &length))
    throw std::runtime_error("no HMAC could be computed");
  digest.resize(length);
  return digest;
}

// So many numbers in [0, 1), a function of the seed.
std::vector<double> Uniforms(const Bytes& seed, std::size_t count) {
  std::vector<double> drawn;
  for (std::uint32_t block = 0; drawn.size() < count; ++block) {
    Bytes number;
    for (int byte = 0; byte < 4; ++byte) number.push_back(static_cast<std::uint8_t>(block >> (8 * byte)));
    const Bytes bytes = Hmac(seed, number);
    for (int place = 0; place < 4 && drawn.size() < count; ++place) {
      std::uint64_t value = 0;
      for (int byte = 7; byte >= 0; --byte) value = value << 8 | bytes[8 * place + byte];
      drawn.push_back(std::ldexp(static_cast<double>(value >> 11), -53));
    }
  }
  return drawn;
}

// Appends so many from N(0, 1), by Box and Muller, and so many in [0, 1).
void DrawRandomNumbers(const Bytes& seed, std::size_t normal, std::size_t uniform, std::vector<float>& normals,
                       std::vector<float>& uniforms) {
  const std::size_t pairs = (normal + 1) / 2, first = normals.size();
  const auto drawn = Uniforms(seed, 2 * pairs + uniform);
  normals.resize(first + normal);
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    const double radius = std::sqrt(-2 * std::log1p(-drawn[pair])), angle = 2 * kPi * drawn[pairs + pair];
    normals[first + pair] = static_cast<float>(radius * std::cos(angle));
    if (pairs + pair < normal) normals[first + pairs + pair] = static_cast<float>(radius * std::sin(angle));
  }
  for (std::size_t place = 2 * pairs; place < drawn.size(); ++place)
    uniforms.push_back(static_cast<float>(drawn[place]));
}

// A privatizer's graph, and the key that all its random numbers come from.
class Privatizer {
 public:
  Privatizer(const Bytes& graph, Bytes key) : key_(std::move(key)) {
    if (key_.size() != 32) throw std::runtime_error("the key has to be 32 bytes");
    Ort::SessionOptions options;
    session_ = Ort::Session(environment_, graph.data(), graph.size(), options);
    const auto said = session_.GetModelMetadata();
    const auto schema = said.LookupCustomMetadataMapAllocated("privsdk.schema", allocator_);
    if (!schema || std::string(schema.get()) != "1")
      throw std::runtime_error("this is no graph of a privatizer that this host knows");
    filter_ = said.LookupCustomMetadataMapAllocated("privsdk.filter", allocator_).get();
    for (std::size_t number = 0; number < session_.GetInputCount(); ++number) {
      const std::string name = session_.GetInputNameAllocated(number, allocator_).get();
      const auto shape = session_.GetInputTypeInfo(number).GetTensorTypeAndShapeInfo().GetShape();
      if (name == "private") throw std::runtime_error("this privatizer wants private labels: this host has none");
      if (name == "samples") shape_ = shape;
      if (name == "normal") normal_ = shape[1];
      if (name == "uniform") uniform_ = shape[1];
    }
    for (std::size_t axis = 1; axis < shape_.size(); ++axis) size_ *= shape_[axis];
  }

  std::size_t size() const { return size_; }

  // Samples to releases; empty for one that is kept back.
  std::vector<Bytes> Release(const std::vector<Bytes>& samples) {
    std::vector<Bytes> released(samples.size());
    for (int draw = 1; draw <= kDraws; ++draw) {
      std::vector<std::size_t> waiting;
      for (std::size_t row = 0; row < samples.size(); ++row)
        if (released[row].empty()) waiting.push_back(row);
      for (std::size_t start = 0; start < waiting.size(); start += kBatch)
        Run(samples, {waiting.begin() + start, waiting.begin() + std::min(start + kBatch, waiting.size())}, draw,
            released);
    }
    return released;
  }

 private:
  void Run(const std::vector<Bytes>& samples, const std::vector<std::size_t>& rows, int draw,
           std::vector<Bytes>& released) {
    const auto count = static_cast<std::int64_t>(rows.size());
    const std::string purpose = "release by " + filter_ + ", draw " + std::to_string(draw) + ":";
    Bytes together;
    std::vector<float> normals, uniforms;
    for (const std::size_t row : rows) {
      Bytes message(purpose.begin(), purpose.end());
      message.insert(message.end(), samples[row].begin(), samples[row].end());
      DrawRandomNumbers(Hmac(key_, message), normal_, uniform_, normals, uniforms);
      together.insert(together.end(), samples[row].begin(), samples[row].end());
    }
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    auto shape = shape_;
    shape[0] = count;
    const std::int64_t normal_shape[] = {count, normal_}, uniform_shape[] = {count, uniform_};
    std::vector<const char*> names = {"samples", "normal"};
    std::vector<Ort::Value> inputs;
    inputs.push_back(Ort::Value::CreateTensor<std::uint8_t>(memory, together.data(), together.size(), shape.data(),
                                                            shape.size()));
    inputs.push_back(Ort::Value::CreateTensor<float>(memory, normals.data(), normals.size(), normal_shape, 2));
    if (uniform_ > 0) {
      names.push_back("uniform");
      inputs.push_back(Ort::Value::CreateTensor<float>(memory, uniforms.data(), uniforms.size(), uniform_shape, 2));
    }
    const char* outputs[] = {"released", "kept_back"};
    const auto found = session_.Run(Ort::RunOptions(), names.data(), inputs.data(), inputs.size(), outputs, 2);
    const auto* images = found[0].GetTensorData<std::uint8_t>();
    const auto* kept_back = found[1].GetTensorData<std::uint8_t>();
    for (std::size_t place = 0; place < rows.size(); ++place)
      if (!kept_back[place]) released[rows[place]].assign(images + place * size_, images + (place + 1) * size_);
  }

  Ort::Env environment_{ORT_LOGGING_LEVEL_ERROR, "privsdk"};
  Ort::AllocatorWithDefaultOptions allocator_;
  Ort::Session session_{nullptr};
  Bytes key_;
  std::string filter_;
  std::vector<std::int64_t> shape_;
  std::size_t size_ = 1;
  std::int64_t normal_ = 0, uniform_ = 0;
};

int main(int count, char** arguments) try {
  if (count != 5) throw std::runtime_error("usage: release privatizer.onnx key samples released");
  Privatizer privatizer(Read(arguments[1]), Read(arguments[2]));
  const Bytes taken = Read(arguments[3]);
  if (taken.size() % privatizer.size()) throw std::runtime_error("the file holds no whole number of samples");
  std::vector<Bytes> samples;
  for (auto at = taken.begin(); at != taken.end(); at += privatizer.size())
    samples.emplace_back(at, at + privatizer.size());
  const auto released = privatizer.Release(samples);
  if (std::filesystem::exists(arguments[4])) throw std::runtime_error("the output exists already");
  std::ofstream file(arguments[4], std::ios::binary);
  std::size_t kept_back = 0;
  for (const Bytes& one : released) {
    kept_back += one.empty();
    file.write(reinterpret_cast<const char*>(one.data()), static_cast<std::streamsize>(one.size()));
  }
  file.close();
  if (!file) throw std::runtime_error("the output cannot be written");
  std::cout << released.size() - kept_back << " released, " << kept_back << " kept back\n";
  return kept_back ? 1 : 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 2;
}
