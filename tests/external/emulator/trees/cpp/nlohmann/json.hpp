// Stands in for the JSON library that conifer.h reads its model with, so that no such library need be installed:
// the same two entry points (the macro that lists a class's fields, and json::parse), over plain words in that order.
#pragma once
#include <algorithm>
#include <fstream>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace nlohmann {

class json {
    std::ifstream &words;
    std::string convention;

  public:
    explicit json(std::ifstream &file) : words(file) {
        if (!(words >> convention)) throw std::runtime_error("the model file is empty");
    }
    static json parse(std::ifstream &file) { return json(file); }
    std::string value(const char *, const char *) const { return convention; }

    template <class T> typename std::enable_if<std::is_arithmetic<T>::value>::type read(T &number) {
        std::string word;
        if (!(words >> word)) throw std::runtime_error("the model file ends too early");
        number = static_cast<T>(std::stod(word));
    }
    template <class T> void read(std::vector<T> &list) {
        std::size_t size;
        read(size);
        list.resize(size);
        for (auto &entry : list) read(entry);
    }
    template <class T> typename std::enable_if<std::is_class<T>::value>::type read(T &object) { from_json(*this, object); }

    void read_all() {}
    template <class T, class... Rest> void read_all(T &first, Rest &...rest) {
        read(first);
        read_all(rest...);
    }
};

}  // namespace nlohmann

// Only conifer's two lists of fields are known; each has six.
#define NLOHMANN_DEFINE_TYPE_INTRUSIVE(Type, a, b, c, d, e, f) \
    friend void from_json(nlohmann::json &words, Type &t) { words.read_all(t.a, t.b, t.c, t.d, t.e, t.f); }
